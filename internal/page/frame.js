// Asks the learning platform for a frame as high as the page (lti.frameResize),
// so that people scroll once, not twice. Platforms that do not know the message
// ignore it.
(function () {
  "use strict";
  if (window.parent === window) return;
  var last = 0;
  function measure() {
    var height = Math.ceil(Math.max(document.body.scrollHeight, document.body.getBoundingClientRect().bottom + window.scrollY));
    if (height > 0 && Math.abs(height - last) > 1) {
      last = height;
      window.parent.postMessage({ subject: "lti.frameResize", height: height }, "*");
    }
  }
  function begin() {
    measure();
    new ResizeObserver(measure).observe(document.body);
  }
  if (document.readyState === "loading") addEventListener("DOMContentLoaded", begin);
  else begin();
  addEventListener("load", measure);
})();
