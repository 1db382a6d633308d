// Send clicks on cards, chips, buttons and plots to Python as one kind of event. They are numbered, because requests can
// reach the server in another order.
let clicks = 0;
const send = (action, id) => trigger("click", { action, id, number: ++clicks });

document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-vp]");
  if (!target) return;
  event.preventDefault();
  if (target.dataset.vpConfirm && !window.confirm(target.dataset.vpConfirm)) return;
  send(target.dataset.vp, target.dataset.vpId);
});

// Gradio redraws a plot when its value changes. The old listeners are lost then.
const bindPlots = () => {
  for (const plot of document.querySelectorAll(".vp-plot .js-plotly-plot")) {
    if (!plot.on || plot.vpListening === plot._ev) continue;
    plot.on("plotly_click", (event) => send("play-id", String(event.points[0].customdata)));
    plot.vpListening = plot._ev;
  }
};

// After an answer, scroll the chat to its question, so that the sentence and the first cards are visible. The answer
// grows while it is drawn. Scroll again whenever its size changes, until the user scrolls or clicks.
let rendered = "0 0";
let follows = false;

const scrollToQuestion = () => {
  const rows = [...document.querySelectorAll("#vp-chat .message-row")];
  if (!follows || !rows.length) return;
  const question = rows.findLastIndex((row) => row.classList.contains("user-row"));
  // Removing a chip gives an answer without a user message.
  const first = rows[question >= rows.length - 3 ? question : rows.length - 2];
  const chat = document.querySelector("#vp-chat .bubble-wrap");
  chat.scrollTop += first.getBoundingClientRect().top - chat.getBoundingClientRect().top - 8;
};

// Observing an element again reports its size again, which would never end.
const observed = new WeakSet();
const sizes = new ResizeObserver(scrollToQuestion);
for (const event of ["wheel", "touchmove", "pointerdown", "keydown"]) {
  document.addEventListener(
    event,
    ({ target }) => {
      if (target.closest?.("#vp-chat")) follows = false;
    },
    { capture: true, passive: true },
  );
}

const showAnswer = () => {
  for (const part of document.querySelectorAll("#vp-chat .bubble-wrap, #vp-chat .message-row")) {
    if (observed.has(part)) continue;
    observed.add(part);
    sizes.observe(part);
  }
  const rows = document.querySelectorAll("#vp-chat .message-row").length;
  const now = `${rows} ${document.querySelectorAll("#vp-chat .vp-card").length}`;
  if (now === rendered) return;
  rendered = now;
  follows = true;
  scrollToQuestion();
};

const pageChanged = () => {
  bindPlots();
  showAnswer();
};
new MutationObserver(pageChanged).observe(document.body, { childList: true, subtree: true });
pageChanged();
