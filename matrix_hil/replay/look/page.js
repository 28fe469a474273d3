"use strict";
// Draws the plots, keeps their time axes together, and ties a cursor in each to the replay's clock.
(async () => {
  // Text of an element that holds gzip in base64.
  async function unpack(id) {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  }

  const plotly = document.createElement("script");
  plotly.textContent = await unpack("plotly");
  document.head.appendChild(plotly);
  const data = JSON.parse(await unpack("data"));
  const config = { responsive: true, displaylogo: false, displayModeBar: false };
  const timed = [];
  let relaying = false;
  let shown = null; // s, where the cursors stand

  function link(source, change) {
    const range = change["xaxis.range[0]"] !== undefined ? [change["xaxis.range[0]"], change["xaxis.range[1]"]] : null;
    if (relaying || (!range && !change["xaxis.autorange"])) return;
    relaying = true;
    const next = { "xaxis.range": range || [0, data.duration] };
    Promise.all(timed.map((plot) => Plotly.relayout(plot, next))).finally(() => {
      relaying = false;
      if (shown !== null) moveCursors(shown);
    });
  }

  // The cursor is a plain element over the plot: moving it costs no redraw.
  function addCursor(plot) {
    const line = document.createElement("div");
    line.style.cssText = "position:absolute;width:1px;background:#30343b;pointer-events:none;display:none;z-index:2";
    plot.style.position = "relative";
    plot.appendChild(line);
    plot.cursor = line;
  }

  function moveCursors(time) {
    shown = time;
    for (const plot of timed) {
      const { xaxis, yaxis } = plot._fullLayout;
      const x = xaxis.d2p(time);
      const line = plot.cursor.style;
      line.display = x >= 0 && x <= xaxis._length ? "block" : "none";
      line.left = `${xaxis._offset + x}px`;
      line.top = `${yaxis._offset}px`;
      line.height = `${yaxis._length}px`;
    }
  }

  // The replay is a document of this page's own origin: its slider tells the time, its number field sets it.
  const frame = document.getElementById("replay");
  const inReplay = (selector) => frame && frame.contentDocument && frame.contentDocument.querySelector(selector);

  function seek(time) {
    moveCursors(time);
    const field = inReplay('input[inputmode="decimal"], input[type="text"]');
    if (!field) return;
    const setter = Object.getOwnPropertyDescriptor(frame.contentWindow.HTMLInputElement.prototype, "value").set;
    setter.call(field, time.toFixed(3));
    field.dispatchEvent(new Event("input", { bubbles: true }));
  }

  const drawn = data.figures.map((entry, i) => {
    const plot = document.getElementById(`plot${i}`);
    return Plotly.newPlot(plot, entry.figure.data, entry.figure.layout, config).then(() => {
      if (!entry.timed) return;
      timed.push(plot);
      addCursor(plot);
      plot.on("plotly_relayout", (change) => link(plot, change));
      plot.addEventListener("click", (event) => {
        const { xaxis } = plot._fullLayout;
        const time = xaxis.p2d(event.clientX - plot.getBoundingClientRect().left - xaxis._offset);
        if (time >= 0 && time <= data.duration) seek(time);
      });
    });
  });

  // "#t=12.5" at the end of the page's address opens it at that moment.
  let wanted = parseFloat((location.hash.match(/t=([0-9.]+)/) || [])[1]);
  let last = null;
  setInterval(() => {
    const slider = inReplay('[role="slider"]');
    const now = slider && slider.getAttribute("aria-valuenow");
    if (now === null || now === last || timed.length === 0) return;
    last = now;
    document.body.dataset.time = now;
    moveCursors(parseFloat(now));
    if (wanted >= 0) {
      seek(wanted);
      wanted = -1;
    }
  }, 50);

  Promise.all(drawn).then(() => { document.body.dataset.drawn = drawn.length; });
})();
