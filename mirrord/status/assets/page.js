// The page is whole without this. With it, it keeps itself up to date, counts ages on, and copies at a click.
"use strict";

(() => {
  const EVERY_MS = 5000;
  const PATIENCE_MS = 10000;
  const live = document.getElementById("live");
  const main = document.querySelector("main");
  let skewMs = Number(main.dataset.now) * 1000 - Date.now(); // ages are by the service's clock
  let awaySince = null;
  let asking = false;

  document.documentElement.classList.add("scripted");

  // -- what is there becomes what is wanted, and all that is the same already stays: focus, scrolling, open details

  function become(have, want) {
    if (have.nodeType !== Node.ELEMENT_NODE) {
      if (have.data !== want.data) have.data = want.data;
      return;
    }
    for (const { name } of [...have.attributes]) {
      if (!want.hasAttribute(name) && name !== "open") have.removeAttribute(name);
    }
    for (const { name, value } of [...want.attributes]) {
      if (have.getAttribute(name) !== value) have.setAttribute(name, value);
    }
    becomeChildren(have, want);
  }

  function isAlike(have, want) {
    return have && have.nodeName === want.nodeName && rowOf(have) === rowOf(want);
  }

  function rowOf(node) {
    return node.nodeType === Node.ELEMENT_NODE ? node.dataset.row : undefined;
  }

  function becomeChildren(have, want) {
    const rows = new Map([...have.children].filter(rowOf).map((each) => [rowOf(each), each]));
    let next = have.firstChild;
    for (const child of [...want.childNodes]) {
      const known = rows.get(rowOf(child));
      if (known && known !== next) have.insertBefore(known, next);
      const same = known || next;
      if (isAlike(same, child)) {
        become(same, child);
        next = same.nextSibling;
      } else {
        have.insertBefore(child, next);
      }
    }
    while (next) {
      const gone = next;
      next = next.nextSibling;
      gone.remove();
    }
  }

  // -- asking again

  function isSelecting() {
    const selection = document.getSelection();
    return Boolean(selection && !selection.isCollapsed && main.contains(selection.anchorNode));
  }

  async function renew() {
    if (asking || document.hidden) return;
    if (isSelecting()) {
      say("paused", "paused while text is selected");
      return;
    }
    asking = true;
    try {
      const answer = await fetch(location.href, {
        cache: "no-store",
        credentials: "same-origin",
        signal: AbortSignal.timeout(PATIENCE_MS),
      });
      const text = await answer.text();
      const fresh = new DOMParser().parseFromString(text, "text/html");
      const wanted = fresh.querySelector("main");
      if (!wanted) throw new Error(`status ${answer.status}`);
      skewMs = Number(wanted.dataset.now) * 1000 - Date.now();
      if (!isSelecting()) {
        document.title = fresh.title;
        become(main, wanted);
      }
      awaySince = null;
      document.documentElement.classList.remove("stale-page");
      say("", `as of ${clock(now())}`);
    } catch (error) {
      awaySince = awaySince || now();
      document.documentElement.classList.add("stale-page");
      const why = String(error.message).startsWith("status ") ? `answers with ${error.message}` : "not reachable";
      say("away", `${why} since ${clock(awaySince)}`);
    } finally {
      asking = false;
    }
    tell();
  }

  function now() {
    return new Date(Date.now() + skewMs);
  }

  function clock(at) {
    return `${at.toISOString().slice(11, 19)}Z`;
  }

  function say(kind, text) {
    live.className = `live ${kind}`;
    if (live.textContent !== text) live.textContent = text;
  }

  // -- ages, in the words that the service uses

  function span(seconds) {
    for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
      if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit}`;
    }
    return `${Math.max(0, Math.floor(seconds))} s`;
  }

  function tell() {
    if (isSelecting()) return;
    for (const each of document.querySelectorAll("[data-since]")) {
      const length = span(now() / 1000 - Number(each.dataset.since));
      const text = "bare" in each.dataset ? length : `(${length} ago)`;
      if (each.textContent !== text) each.textContent = text;
    }
  }

  // -- copying

  async function copy(button) {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      // without https there is no clipboard to write to but this one
      const whole = button.parentElement.querySelector(".whole");
      document.getSelection().selectAllChildren(whole);
      document.execCommand("copy");
      document.getSelection().removeAllRanges();
    }
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1500);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest(".copy");
    if (button) copy(button);
  });
  document.addEventListener("visibilitychange", renew);
  setInterval(renew, EVERY_MS);
  setInterval(() => document.hidden || tell(), 1000);
  say("", `as of ${clock(now())}`);
})();
