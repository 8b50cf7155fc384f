"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const config = { responsive: true, displaylogo: false, showLink: false, plotlyServerURL: "", doubleClick: "reset",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  const state = { cost: "seconds", target: null, hidden: new Set() };
  const heights = new Map(charts.map((chart) => [chart.id, chart.layout.height]));
  const box = (chart) => document.getElementById(chart.id);
  const switchable = charts.filter((chart) => chart.axes);

  const shown = (trace) => !state.hidden.has(trace.meta.who) && !state.hidden.has(trace.meta.method);

  function unit(value) {
    if (state.cost === "nfev") return `${Math.round(value).toLocaleString("en")} evaluations`;
    const [name, size] = [["s", 1], ["ms", 1e-3], ["µs", 1e-6], ["ns", 1e-9]].find(([, s]) => value >= s) || ["ns", 1e-9];
    return `${(value / size).toPrecision(3)} ${name}`;
  }

  // what reaches the target for the least
  function verdict(chart) {
    const line = document.querySelector(`[data-verdict="${chart.id}"]`);
    if (state.target === null) { line.textContent = ""; return; }
    let best = null;
    for (const trace of chart.data) {
      if (trace.meta.method === "front" || !shown(trace)) continue;
      trace.meta[state.cost].forEach((cost, i) => {
        if (trace.y[i] !== null && trace.y[i] <= state.target && (best === null || cost < best.cost))
          best = { cost, name: trace.name, knob: (trace.text[i].split("<br>")[1] || "").split(";")[0] };
      });
    }
    const bar = state.target.toExponential(0);
    line.textContent = best === null ? `nothing shown reaches ${bar}`
      : `error ≤ ${bar}: ${best.name} (${best.knob}), ${unit(best.cost)}`;
  }

  function update() {
    for (const chart of switchable) {
      const all = chart.data.map((_, i) => i);
      const y = (trace) => (trace.meta.y ? trace.meta.y[state.cost] : trace.y);
      const shapes = state.target === null ? [] : [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: state.target,
        y1: state.target, line: { color: "#8C8C8C", width: 2, dash: "dash" } }];
      Plotly.update(box(chart), {
        x: chart.data.map((trace) => trace.meta[state.cost]), y: chart.data.map(y), visible: chart.data.map(shown),
      }, { xaxis: { ...chart.axes[state.cost], autorange: true }, shapes }, all);
      verdict(chart);
    }
  }

  const press = (button, on) => button.setAttribute("aria-pressed", String(on));
  const pressed = (button) => button.getAttribute("aria-pressed") === "true";

  for (const button of document.querySelectorAll("[data-toggle]"))
    button.addEventListener("click", () => {
      const name = button.dataset.toggle;
      if (pressed(button)) state.hidden.add(name); else state.hidden.delete(name);
      press(button, !pressed(button));
      update();
    });
  const costs = document.querySelectorAll("[data-cost]");
  for (const button of costs)
    button.addEventListener("click", () => {
      state.cost = button.dataset.cost;
      costs.forEach((other) => press(other, other === button));
      update();
    });
  for (const button of document.querySelectorAll("[data-trace]"))
    button.addEventListener("click", () => {
      press(button, !pressed(button));
      Plotly.restyle(button.dataset.chart, { visible: pressed(button) }, [Number(button.dataset.trace)]);
    });
  const target = document.getElementById("target");
  const read = () => { state.target = target.value === "" ? null : Number(target.value); };
  if (target) {
    target.addEventListener("change", () => { read(); update(); });
    read();
  }

  document.getElementById("download").addEventListener("click", () => {
    const blob = new Blob([document.getElementById("data").textContent], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "fastgrad-report.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  // paper is narrower than the screen, and the charts do not notice
  const PAPER = { width: 330, height: 250, autosize: false };
  const alone = (chart) => box(chart).closest(".grid").children.length === 1;
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details").forEach((one) => { one.dataset.was = String(one.open); one.open = true; });
    charts.forEach((chart) => Plotly.relayout(box(chart), alone(chart) ? { ...PAPER, width: 2 * PAPER.width } : PAPER));
  });
  window.addEventListener("afterprint", () => {
    document.querySelectorAll("details").forEach((one) => { one.open = one.dataset.was === "true"; });
    charts.forEach((chart) => Plotly.relayout(box(chart), { width: null, height: heights.get(chart.id), autosize: true }));
  });

  Promise.all(charts.map((chart) => Plotly.newPlot(box(chart), chart.data, chart.layout, config))).then(() => {
    update();
    document.documentElement.dataset.drawn = "true";
  });
})();
