"use strict";
// A decision is one request: what is decided, what it means, why, and the password again. The server judges it.
const { product, version } = document.body.dataset;
const answer = document.getElementById("answer");
const notes = JSON.parse(document.getElementById("kept").textContent);
const reason = document.getElementById("reason");
const password = document.getElementById("password");
const open = document.getElementById("approve") !== null;

function problem(text) {
  answer.textContent = text;
  answer.className = "alarm";
}

async function act(event) {
  const button = event.currentTarget;
  const text = reason.value.trim();
  if (!text) {
    problem("Say why first: the reason is kept with the decision.");
    reason.focus();
    return;
  }
  if (!password.value) {
    problem("Enter your password once more: a signature asks again who you are.");
    password.focus();
    return;
  }
  if (notes.some((note) => !note.text.trim())) {
    problem("A box is without a remark: say what is to be seen there, or remove it.");
    return;
  }
  button.disabled = true;
  const meaning = document.getElementById("meaning");
  try {
    const response = await fetch("/changeover/sign", {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({
        product,
        version,
        decision: button.dataset.decision,
        meaning: meaning ? meaning.value : "reviewed",
        reason: text,
        password: password.value,
        way: "page",
        notes: open ? notes : [],
      }),
    });
    if (!response.ok) {
      const body = await response.json().catch(() => ({}));
      throw new Error(body.message || `the server answered ${response.status}`);
    }
    location.reload();
  } catch (error) {
    problem(error.message);
    button.disabled = false;
  }
  password.value = "";
}

// Who signs has opened the report: until then the buttons wait.
function readable(opened) {
  document.body.dataset.opened = opened ? "yes" : "no";
  for (const button of document.querySelectorAll(".buttons button")) {
    button.disabled = "refused" in button.dataset || ("read" in button.dataset && !opened);
  }
  document.getElementById("unread").hidden = opened || !open;
}
for (const button of document.querySelectorAll(".buttons button")) button.addEventListener("click", act);
const opener = document.getElementById("open-report");
if (opener) {
  const frame = document.getElementById("report");
  opener.addEventListener("click", () => {
    frame.hidden = false;
    frame.addEventListener("load", () => readable(true), { once: true });
    frame.src = opener.dataset.source;
  });
  document.getElementById("alone").addEventListener("click", () => readable(true));
}

// Boxes, in fractions of the picture.
function within(value) {
  return Math.min(1, Math.max(0, value));
}

function draw(figure) {
  const canvas = figure.querySelector(".canvas");
  const list = figure.querySelector(".notes");
  for (const old of canvas.querySelectorAll(".box")) old.remove();
  list.replaceChildren();
  notes.filter((note) => note.picture === figure.dataset.picture).forEach((note, index) => {
    const box = document.createElement("button");
    box.type = "button";
    box.className = "box";
    box.setAttribute("aria-label", `box ${index + 1}`);
    place(box, note);
    if (open) box.addEventListener("keydown", (event) => nudge(event, note, box));
    canvas.append(box);
    const line = document.createElement("li");
    const text = document.createElement("input");
    text.value = note.text;
    text.maxLength = 500;
    text.placeholder = "What is to be seen here?";
    text.setAttribute("aria-label", `remark on box ${index + 1}`);
    text.readOnly = !open;
    text.addEventListener("input", () => { note.text = text.value; });
    line.append(text);
    if (open) {
      const remove = document.createElement("button");
      remove.type = "button";
      remove.textContent = "Remove";
      remove.addEventListener("click", () => { notes.splice(notes.indexOf(note), 1); draw(figure); });
      line.append(remove);
    }
    list.append(line);
  });
}

function place(box, note) {
  box.style.left = `${100 * note.left}%`;
  box.style.top = `${100 * note.top}%`;
  box.style.width = `${100 * (note.right - note.left)}%`;
  box.style.height = `${100 * (note.bottom - note.top)}%`;
}

function nudge(event, note, box) {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!step) return;
  event.preventDefault();
  const [x, y] = step.map((s) => 0.01 * s);
  if (event.shiftKey) {
    note.right = Math.max(note.left + 0.01, within(note.right + x));
    note.bottom = Math.max(note.top + 0.01, within(note.bottom + y));
  } else if (note.left + x >= 0 && note.right + x <= 1 && note.top + y >= 0 && note.bottom + y <= 1) {
    note.left += x; note.right += x; note.top += y; note.bottom += y;
  }
  place(box, note);
}

for (const figure of document.querySelectorAll("figure")) {
  const canvas = figure.querySelector(".canvas");
  const add = (left, top, right, bottom) => {
    notes.push({ picture: figure.dataset.picture, left, top, right, bottom, text: "" });
    draw(figure);
    figure.querySelector(".notes li:last-child input").focus();
  };
  if (open) {
    let from = null;
    const at = (event) => {
      const area = canvas.getBoundingClientRect();
      return [within((event.clientX - area.left) / area.width), within((event.clientY - area.top) / area.height)];
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.target.classList.contains("box")) return;
      from = at(event);
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (from === null) return;
      const [x, y] = at(event);
      const [left, right] = [Math.min(from[0], x), Math.max(from[0], x)];
      const [top, bottom] = [Math.min(from[1], y), Math.max(from[1], y)];
      from = null;
      if (right - left > 0.01 && bottom - top > 0.01) add(left, top, right, bottom);
    });
    figure.querySelector(".add").addEventListener("click", () => add(0.4, 0.4, 0.6, 0.6));
  } else {
    figure.querySelector(".add").hidden = true;
  }
  draw(figure);
}

// Every button is disabled in the page as it is sent: a press before this line would be lost.
for (const button of document.querySelectorAll("#open-report, .add")) button.disabled = false;
readable(document.body.dataset.opened === "yes");
