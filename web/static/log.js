"use strict";
// The log tail and its tools: follow, search, level, wrap, copy. Without this file the log is drawn and the download works.
(() => {
  const log = document.getElementById("log"), $ = (n) => document.getElementById("log-" + n);
  if (!log) return;
  const find = $("find"), level = $("level"), follow = $("follow"), wrap = $("wrap"), count = $("count"), maxLines = 5000;

  // Search and level hide lines; they come back when the words are taken out.
  const sorts = { "": 0, warn: 1, error: 2 };
  const fits = (d) => !((sorts[d.className] || 0) < sorts[level.value] || (find.value && !d.textContent.toLowerCase().includes(find.value.toLowerCase().trim())));
  let all = log.querySelectorAll("div:not(.muted)").length, shown = all;
  const tell = (extra) => {
    const narrowed = find.value.trim() || level.value;
    count.textContent = [narrowed ? `${shown} of ${all} lines` : "", extra].filter(Boolean).join(" · ");
  };
  const sift = () => {
    shown = 0;
    for (const d of log.children) { d.hidden = !fits(d); shown += !d.hidden; }
    if (following) end();
    tell(fresh && !following ? `${fresh} new below` : "");
  };
  find.addEventListener("input", sift);
  level.addEventListener("change", sift);
  find.addEventListener("keydown", (e) => { if (e.key === "Escape") { find.value = ""; sift(); } });

  // Follow: on until somebody scrolls up, on again at the end or by the button.
  let following = true, fresh = 0;
  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  const end = () => { log.scrollTop = log.scrollHeight; };
  const setFollow = (on) => {
    following = on;
    if (on) fresh = 0;
    if (follow) { follow.setAttribute("aria-pressed", on); follow.textContent = on ? "Follow" : "Paused: follow again"; }
    tell(fresh && !on ? `${fresh} new below` : "");
  };
  end();
  log.addEventListener("scroll", () => { const e = atEnd(); if (e !== following) setFollow(e); });
  if (follow) follow.addEventListener("click", () => { setFollow(!following); if (following) end(); });

  wrap.addEventListener("click", () => { const on = log.classList.toggle("nowrap"); wrap.setAttribute("aria-pressed", !on); if (following) end(); });
  $("copy").addEventListener("click", async () => {
    const text = [...log.children].filter((d) => !d.hidden).map((d) => d.textContent).join("\n") + "\n";
    try {
      await navigator.clipboard.writeText(text);
      tell("copied");
    } catch { // no permission, or plain HTTP: select it, so that Ctrl-C takes it
      getSelection().selectAllChildren(log);
      tell("selected: press Ctrl-C to copy");
    }
  });

  // New lines, put in together.
  if (!log.dataset.stream) return;
  let seen = 0, waiting = [], timer = 0;
  const put = () => {
    timer = 0;
    const lines = document.createDocumentFragment(), was = following;
    log.querySelector(".muted")?.remove();
    for (const l of waiting.slice(-maxLines)) {
      const gap = seen ? l.id - seen - 1 : 0;
      seen = l.id;
      if (gap > 0) {
        const g = document.createElement("div");
        g.className = "muted";
        g.textContent = gap < 65536 ? `… ${gap} lines skipped, see the download …` : "… another job …";
        lines.append(g);
      }
      const d = document.createElement("div"), t = document.createElement("time");
      if (l.level) d.className = l.level;
      t.dateTime = l.time; t.dataset.abs = ""; t.title = new Date(l.time).toString();
      t.textContent = new Date(l.time).toLocaleTimeString("en-GB");
      d.append(t, " ", l.text);
      d.hidden = !fits(d);
      shown += !d.hidden;
      all++; fresh++;
      lines.append(d);
    }
    waiting = [];
    log.append(lines);
    while (log.childElementCount > maxLines) { if (!log.firstElementChild.hidden) shown--; all--; log.firstElementChild.remove(); }
    if (was) { end(); fresh = 0; }
    tell(fresh ? `${fresh} new below` : "");
  };
  const es = new EventSource(log.dataset.stream);
  es.addEventListener("line", (e) => { waiting.push(JSON.parse(e.data)); if (!timer) timer = setTimeout(put, 60); });
  addEventListener("pagehide", () => es.close());
})();
