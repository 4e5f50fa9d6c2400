"""How the pages look: light and dark, on a phone, on a desk and on paper; nothing is fetched.

Page numbers in print are margin boxes of `@page`, which Chromium draws from version 131; older browsers leave them out.
"""

MOST_COLUMNS = 12

# On a phone the cells of a wide table stand below each other, each with the heading of its column (`--c1` ... of the
# table), as no style can look it up.
_HEADINGS = "\n".join(
    f"  .wide :is(th, td):nth-child({column})::before {{ content: var(--c{column}); }}"
    for column in range(1, MOST_COLUMNS + 1)
)

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #f6f7f7; --card: #ffffff; --ink: #1c2830; --soft: #55646e; --rule: #dbe1e4; --accent: #0b6a75;
  --good: #1d6b41; --good-soft: #def0e4; --care: #845400; --care-soft: #fcefd2; --bad: #a4262c; --bad-soft: #fbe3e2;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #11181c; --card: #19232a; --ink: #e5ebee; --soft: #a0b0b9; --rule: #2f3c45; --accent: #5fc4cc;
    --good: #85d3a4; --good-soft: #1b3a2a; --care: #efc26b; --care-soft: #3f3117; --bad: #ff9d97; --bad-soft: #4a2122;
  }
}

* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink); font-size: 16px; line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif;
}
header, main, footer { max-width: 62rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 2.75rem; }
footer { margin-top: 3rem; padding-bottom: 2.5rem; }
h1 { font-size: clamp(1.5rem, 4.5vw, 2.4rem); line-height: 1.15; margin: .25rem 0 .9rem; letter-spacing: -.015em; }
h1 { text-wrap: balance; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.75rem 0 .4rem; }
h3 { font-size: 1rem; margin: 1.25rem 0 .35rem; }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere; }
figure { margin: 0; }
sup { line-height: 0; }
a { color: var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.kicker { color: var(--accent); font-weight: 600; font-size: .9rem; margin: 0; }
.lede { font-size: 1.15rem; max-width: 52rem; }
.meta, .soft, figcaption, caption { color: var(--soft); font-size: .875rem; }

.skip { position: absolute; left: -100vw; background: var(--card); padding: .5rem 1rem; border-radius: 0 0 8px 0; }
.skip:focus { left: 0; top: 0; }
.stamp { border: 2px solid; border-radius: 6px; padding: .3rem .8rem; width: fit-content; font-weight: 600; }
.banner ul { margin: .35rem 0 0; padding-left: 1.15rem; font-size: .9rem; }
.banner { border-left: 5px solid; border-radius: 6px; padding: .8rem 1.1rem; margin: 1rem 0; }
.banner p { margin: 0; }
.banner, .banner p { max-width: none; }
.banner li::first-letter, p.banner::first-letter { text-transform: uppercase; }
.banner strong { font-size: 1.06rem; }
.pill { display: inline-block; font-size: .74rem; font-weight: 600; line-height: 1.5; }
.pill { padding: .12rem .5rem; border-radius: .8rem; }
.good { color: var(--good); background: var(--good-soft); }
.care { color: var(--care); background: var(--care-soft); }
.bad { color: var(--bad); background: var(--bad-soft); }

.cards li, .chart, .box, .scroll, .sheet, pre {
  background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
}
.sheet { width: fit-content; max-width: 100%; background: #ffffff; padding: .5rem; overflow-x: auto; }
.sheet img { display: block; max-width: 100%; height: auto; }
.sheet + figcaption { margin-top: .5rem; }
.pair { display: flex; flex-wrap: wrap; gap: 1.2rem; align-items: flex-start; }
.pair figure { max-width: 100%; }
.sign { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); gap: 4rem 1.5rem; }
.sign { margin: 4rem 0 0; padding: 0; list-style: none; }
.sign li { border-top: 1px solid var(--ink); padding-top: .2rem; color: var(--soft); font-size: .875rem; }

.cards { list-style: none; margin: .8rem 0 0; padding: 0; }
.cards, .charts, .sides { display: grid; gap: .9rem; }
.cards { grid-template-columns: repeat(auto-fit, minmax(min(100%, 13.5rem), 1fr)); }
.cards li, .chart, .box { padding: .95rem 1.1rem; }
.cards .what { display: block; font-size: .9rem; font-weight: 600; }
.cards .value { display: block; font-size: 1.5rem; font-weight: 650; line-height: 1.35; }
.cards .note { display: block; color: var(--soft); font-size: .85rem; margin: .15rem 0 .4rem; }

.charts { grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); margin: .8rem 0; }
.chart h3 { margin: 0 0 .3rem; display: flex; justify-content: space-between; gap: 1rem; font-size: .92rem; }
.chart svg { display: block; width: 100%; height: auto; }
.chart text { font-size: 11px; fill: var(--soft); }
.chart .latest { color: var(--accent); white-space: nowrap; }
.chart .rule { stroke: var(--rule); }
.chart .level { stroke: var(--care); stroke-dasharray: 5 4; }
.chart .line { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; }
.chart .dot { fill: var(--accent); }
.chart .band { fill: var(--accent); opacity: .18; }

.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: .7rem .8rem .3rem; }
th, td { text-align: left; vertical-align: top; padding: .45rem .8rem; border-top: 1px solid var(--rule); }
thead th { color: var(--soft); font-size: .82rem; border-top: 0; vertical-align: bottom; }
tbody th .soft { display: block; font-weight: 400; }
.figures th, .figures td { padding: .45rem .55rem; }
.figures caption { padding-left: .55rem; padding-right: .55rem; }
.figures tbody th { min-width: 8rem; max-width: 14rem; overflow-wrap: anywhere; }
.spent { display: grid; grid-template-columns: 5rem auto; gap: .6rem; align-items: center; }
.spent > span { white-space: nowrap; }
.bar { height: .55rem; border-radius: .3rem; background: var(--rule); overflow: hidden; }
.bar span { display: block; height: 100%; background: var(--accent); }
.bar .over { background: var(--bad); }

.sides { grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr)); margin-top: .8rem; }
.box h3 { margin-top: 0; }
.box ul { margin: .3rem 0 0; padding-left: 1.15rem; }
.box li { margin: .4rem 0; }
.box.yes { border-top: 4px solid var(--good); }
.box.no { border-top: 4px solid var(--care); }
details { margin: .8rem 0; }
summary { cursor: pointer; font-weight: 600; color: var(--accent); padding: .2rem 0; }
code { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; font-size: .88em; }
pre { padding: .8rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere; }

@media (max-width: 40rem) {
  header, main, footer { padding-left: 1rem; padding-right: 1rem; }
  header { padding-top: 1.75rem; }
  .lede { font-size: 1.06rem; }
}
@media screen and (max-width: 40rem) {
  .wide, .wide caption, .wide tbody { display: block; }
  .wide caption { padding: .7rem .8rem .3rem; }
  .wide thead { display: none; }
  .wide tr { display: grid; grid-template-columns: 1fr 1fr; gap: .35rem 1rem; padding: .6rem .8rem; }
  .wide tr { border-top: 1px solid var(--rule); }
  .wide :is(th, td) { border: 0; padding: 0; min-width: 0; max-width: none; overflow-wrap: anywhere; }
  .wide th { grid-column: 1 / -1; }
  .wide :is(th, td)::before { display: block; color: var(--soft); font-size: .8rem; font-weight: 400; }
  .wide .spent > span { white-space: normal; }
  .wide .spent { grid-template-columns: 1fr; gap: .2rem; }
HEADINGS
}
@page {
  margin: 18mm 16mm 20mm;
  @bottom-left { content: "SiloGAN"; font: 8pt sans-serif; color: #55646e; }
  @bottom-right { content: "page " counter(page) " of " counter(pages); font: 8pt sans-serif; color: #55646e; }
}
@media print {
  :root { --paper: #ffffff; }
  html { font-size: 10pt; }
  .skip, .unprinted { display: none; }
  body { font-size: 1rem; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  header, main, footer { max-width: none; padding: 0; }
  p { max-width: none; }
  h2 { margin-top: 1.6rem; }
  h2, h3 { break-after: avoid; }
  .chart, .cards li, .box, .banner, .sheet, .scroll, .sign, figure, tr { break-inside: avoid; }
  .sheet img { max-height: 85mm; width: auto; }
  .charts { grid-template-columns: repeat(3, 1fr); }
  .cards { grid-template-columns: repeat(4, 1fr); }
  .scroll { overflow: visible; }
  .figures th, .figures td, th, td { padding: .25rem .4rem; min-width: 0; }
  caption, .figures caption { padding: .5rem .4rem .2rem; }
  .spent { grid-template-columns: 3rem auto; }
  details::details-content { content-visibility: visible; height: auto; }
}
""".replace("HEADINGS", _HEADINGS)
