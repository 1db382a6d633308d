// Send clicks on cards, chips, buttons and plots to Python as one kind of event. They are numbered, because requests can
// reach the server in another order.
let clicks = 0;
const send = (action, id) => trigger("click", { action, id, number: ++clicks });

// Play a card of the feed in its place. The clip may begin before the moment, so its response names the span to play.
const playInCard = async (card) => {
  for (const other of document.querySelectorAll(".vp-playing")) {
    other.querySelectorAll(".vp-video, .vp-problem").forEach((element) => element.remove());
    other.classList.remove("vp-playing");
  }
  const item = card.closest("li");
  const address = `media/${card.dataset.vpPlay}/clip.mp4`;
  item.classList.add("vp-playing");
  item.ariaBusy = "true";
  const response = await fetch(address, { method: "HEAD" }).catch(() => null);
  item.ariaBusy = null;
  if (!item.classList.contains("vp-playing")) return;
  item.querySelectorAll(".vp-video, .vp-problem").forEach((element) => element.remove());
  if (!response?.ok) {
    const problem = document.createElement("p");
    problem.className = "vp-problem";
    problem.role = "alert";
    problem.textContent = "This moment cannot be played. Its footage was deleted or cannot be read.";
    item.prepend(problem);
    return;
  }
  const video = document.createElement("video");
  Object.assign(video, { className: "vp-video", controls: true, autoplay: true, muted: true, playsInline: true });
  video.dataset.start = card.dataset.start;
  video.src = `${address}#t=${response.headers.get("X-Moment-Span")}`;
  item.prepend(video);
  item.scrollIntoView({ block: "nearest", behavior: "smooth" });
};

document.addEventListener("click", (event) => {
  const card = event.target.closest("[data-vp-play]");
  if (card) {
    playInCard(card);
    return;
  }
  const target = event.target.closest("[data-vp]");
  if (!target) return;
  event.preventDefault();
  if (target.dataset.vpConfirm && !window.confirm(target.dataset.vpConfirm)) return;
  if (target.dataset.vp.startsWith("mark-")) target.disabled = true;
  send(target.dataset.vp, target.dataset.vpId);
});

// Gradio redraws a plot when its value changes. The old listeners are lost then.
const bindPlots = () => {
  for (const plot of document.querySelectorAll(".vp-plot .js-plotly-plot")) {
    if (!plot.on || plot.vpListening === plot._ev) continue;
    const action = plot.closest("#vp-overview") ? "play-in-timeline" : "play-id";
    plot.on("plotly_click", (event) => send(action, String(event.points[0].customdata)));
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
