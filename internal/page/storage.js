// Keeps a secret in the platform's window between login and launch, or reads it
// back (LTI postMessage Storage). Only the platform's own origin is told it, and
// only from there an answer is believed.
(function () {
  "use strict";
  var ask = document.body.dataset;
  var main = document.querySelector("main");
  var wait = document.getElementById("wait");
  var proof = document.getElementById("proof");
  var platform = window.opener || window.parent;
  var subject = ask.next ? "lti.put_data" : "lti.get_data";

  function fail(reason) {
    if (proof) {
      proof.elements.storage_error.value = reason;
      proof.submit();
      return;
    }
    main.hidden = false;
    wait.hidden = true;
  }

  // frameNamed finds the platform's frame that stores. Looking into windows of
  // other sites can throw.
  function frameNamed(name) {
    var windows = [platform];
    if (name === "_parent") return platform;
    try { windows.push(window.top); } catch (e) { /* then not */ }
    for (var i = 0; i < windows.length; i++) {
      try {
        if (windows[i].frames[name]) return windows[i].frames[name];
      } catch (e) { /* the next one */ }
    }
    return platform;
  }

  // send posts a message and calls done with the answer, or with null and the
  // reason why there was none.
  function send(to, message, origin, ms, done) {
    var bytes = crypto.getRandomValues(new Uint8Array(16));
    var reason = "timeout";
    message.message_id = Array.prototype.map.call(bytes, function (b) { return (b + 256).toString(16).slice(1); }).join("");
    function finish(answer) {
      clearTimeout(timer);
      removeEventListener("message", listen);
      done(answer, reason);
    }
    function listen(event) {
      var answer = event.data;
      if (!answer || typeof answer !== "object" || answer.message_id !== message.message_id ||
        answer.subject !== message.subject + ".response") return;
      if (origin === "*" ? event.source !== to : event.origin !== origin) {
        reason = "wrong_origin";
        return;
      }
      finish(answer);
    }
    var timer = setTimeout(finish, ms, null);
    addEventListener("message", listen);
    try {
      to.postMessage(message, origin);
    } catch (e) {
      reason = "error";
      finish(null);
    }
  }

  function exchange(frame) {
    var message = { subject: subject, key: ask.key };
    if (ask.next) message.value = ask.value;
    send(frameNamed(frame), message, ask.origin, 2000, function (answer, reason) {
      if (!answer) return fail(reason);
      if (answer.error) return fail(String(answer.error.code || "error"));
      if (ask.next) return location.replace(ask.next);
      if (typeof answer.value !== "string" || !answer.value) return fail("absent");
      proof.elements.storage_proof.value = answer.value;
      send(frameNamed(frame), { subject: "lti.put_data", key: ask.key, value: "" }, ask.origin, 0, function () { proof.submit(); });
    });
  }

  main.hidden = true;
  wait.hidden = false;
  // Some platforms say only here which frame stores, or that none does.
  send(platform, { subject: "lti.capabilities" }, "*", 500, function (answer) {
    var frame = ask.frame;
    if (answer && Array.isArray(answer.supported_messages)) {
      var found = answer.supported_messages.filter(function (m) { return m && m.subject === subject; })[0];
      if (!found) return fail("unsupported_subject");
      if (typeof found.frame === "string" && found.frame) frame = found.frame;
    }
    exchange(frame);
  });
})();
