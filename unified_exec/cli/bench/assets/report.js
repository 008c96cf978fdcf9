"use strict";
(() => {
  const root = document.documentElement;
  const plots = JSON.parse(document.getElementById("data").textContent);
  const system = matchMedia("(prefers-color-scheme: dark)");
  const buttons = [...document.querySelectorAll("[data-theme]")];
  // A page opened from a file may have no storage; the choice is then lost when the page is closed.
  const kept = { get() { try { return localStorage.getItem("bench-theme"); } catch { return null; } },
                 set(value) { try { localStorage.setItem("bench-theme", value); } catch { /* see above */ } } };
  let theme = ["light", "dark"].includes(location.hash.slice(1)) ? location.hash.slice(1) : kept.get() || "auto";

  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

  function trace(plain) {
    const { colours, colour: own, own: strong, dash, ...rest } = plain;
    if (colours) {
      rest.marker = { color: colours.map(colour) };
      rest.error_x = { ...rest.error_x, color: colour("soft") };
    } else if (rest.mode === "text") {
      rest.textfont = { color: colour("ink"), size: 12 };
    } else {
      rest.line = { color: colour(own), width: strong ? 3 : 1.8, dash: dash ? "dot" : "solid" };
      rest.marker = { color: colour(own), size: strong ? 8 : 6 };
    }
    return rest;
  }

  function layout(plain) {
    const { bar, xaxis, yaxis, height } = plain;
    const axis = { gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("line"), automargin: true,
                   fixedrange: true };
    const titled = (given = {}) => ({ ...axis, ...given,
      ...(given.title ? { title: { text: given.title, font: { size: 12, color: colour("soft") } } } : {}) });
    return {
      height, bargap: 0.28, showlegend: !bar,
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colour("ink") },
      margin: bar ? { l: 8, r: 76, t: 6, b: 30 } : { l: 8, r: 10, t: 6, b: 8 },
      xaxis: titled(xaxis), yaxis: titled(bar ? { ...yaxis, gridcolor: "rgba(0,0,0,0)", ticks: "", ticksuffix: "  " } : yaxis),
      legend: { orientation: "h", x: 0, y: -0.2, yanchor: "top", font: { size: 12 } },
      hoverlabel: { bgcolor: colour("card"), bordercolor: colour("line"), font: { color: colour("ink") } },
    };
  }

  function draw() {
    const dark = theme === "dark" || (theme === "auto" && system.matches);
    root.toggleAttribute("data-dark", dark);
    for (const button of buttons) button.setAttribute("aria-pressed", String(button.dataset.theme === theme));
    const drawn = plots.map((plot) => Plotly.react(plot.id, plot.traces.map(trace), layout(plot.layout),
      { displayModeBar: false, responsive: true }));
    Promise.all(drawn).then(() => { document.body.dataset.drawn = String(drawn.length); });
  }

  for (const button of buttons) {
    button.addEventListener("click", () => { theme = button.dataset.theme; kept.set(theme); draw(); });
  }
  system.addEventListener("change", draw);
  draw();
})();
