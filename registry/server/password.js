"use strict";
const form = document.getElementById("change");
const answer = document.getElementById("answer");

function say(text, bad) {
  answer.textContent = text;
  answer.className = bad ? "alarm" : "approved";
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const [now, fresh, again] = ["now", "new", "again"].map((name) => document.getElementById(name).value);
  if (fresh !== again) {
    say("The two new passwords differ.", true);
    return;
  }
  const response = await fetch("/ajax-api/2.0/mlflow/users/update-password", {
    method: "PATCH",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ username: document.body.dataset.user, password: fresh, current_password: now }),
  }).catch(() => null);
  if (response === null) {
    say("The registry did not answer: the password may be changed or not. Try to log in with the new one first.", true);
  } else if (response.ok) {
    form.reset();
    say("The password is changed. The browser asks for it at the next page.", false);
  } else {
    const body = await response.json().catch(() => ({}));
    say(body.message || `the server answered ${response.status}`, true);
  }
});
// Until here a press would have loaded the page again and lost what was typed.
document.getElementById("change-it").disabled = false;
