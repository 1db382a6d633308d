// Clicks on cards, chips and marks, and on the curves, become one event that Python handles.
const send = (action, id) => trigger("click", { action, id });

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-vp]");
  if (!target) return;
  event.preventDefault();
  if (target.dataset.vpConfirm && !window.confirm(target.dataset.vpConfirm)) return;
  send(target.dataset.vp, target.dataset.vpId);
});

// Gradio draws a plot anew whenever its value changes; its listeners go with the old one.
const bindPlots = () => {
  for (const plot of document.querySelectorAll(".vp-plot .js-plotly-plot")) {
    if (!plot.on || plot.vpListening === plot._ev) continue;
    plot.on("plotly_click", (event) => send("play-id", String(event.points[0].customdata)));
    plot.vpListening = plot._ev;
  }
};
new MutationObserver(bindPlots).observe(document.body, { childList: true, subtree: true });
bindPlots();
