"""The page that follows a run: it asks for the state once a second, and shows it. The only page with a script.

The script is part of the page, and its hash stands in the Content-Security-Policy: the browser runs nothing else, loads
nothing from elsewhere and sends nothing anywhere. It writes text alone, so no name becomes markup.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from silogan.common.operations.local_page import Content, Contents
from silogan.common.pages.page import environment, rendered
from silogan.server.operations.run_state import sheet_bytes

POLL_SECONDS = 1.0

SCRIPT = """"use strict";
const at = id => document.getElementById(id);
const element = (tag, text, name) => {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  if (name) made.className = name;
  return made;
};
const bar = (share, words) => {
  const cell = element("td"), drawn = element("div", "", "bar"), filled = element("span");
  filled.style.width = Math.round(1000 * Math.min(1, Math.max(0, share || 0))) / 10 + "%";
  drawn.setAttribute("aria-hidden", "true");
  drawn.append(filled);
  cell.append(drawn, element("span", words));
  return cell;
};
const row = (name, ...cells) => {
  const made = element("tr"), heading = element("th", name);
  heading.scope = "row";
  made.append(heading, ...cells);
  return made;
};
const fill = (id, rows) => {
  at(id + "-part").hidden = !rows.length;
  at(id).replaceChildren(...rows);
};
let sheet = null, looks = 0;
const show = state => {
  at("title").textContent = state.title || "A run begins";
  at("terms").textContent = state.terms || "";
  at("left").textContent = state.left || "";
  const verdict = at("verdict");
  verdict.hidden = !(state.verdict || state.ended);
  const word = (state.verdict || "").split(":")[0];
  verdict.className = "banner " + (word === "usable" ? "good" : word === "failed" ? "bad" : "care");
  verdict.textContent = state.verdict ? state.verdict : "The run has ended.";
  const warnings = (state.warnings || []).map(text => element("li", text));
  at("warnings").replaceChildren(...warnings);
  at("warnings-part").hidden = !warnings.length;
  fill("phases", (state.phases || []).map(one => row(one.name, element("td", one.state),
    one.share === undefined ? element("td", one.told) : bar(one.share, one.told))));
  fill("sites", (state.sites || []).map(one => row(one.name, element("td", one.state),
    one.spent === null ? element("td", "not private") : bar(one.share, one.spent + " of " + one.budget))));
  fill("nodes", (state.nodes || []).map(one => row(one.name, element("td", one.state))));
  fill("runs", (state.runs || []).map(one => row(one.name, element("td", one.state), element("td", one.told))));
  if (state.sheet) {
    const name = (state.run || "") + state.sheet;
    if (name !== sheet) at("sheet").src = "sheet.png?" + looks;
    sheet = name;
  }
  at("sheet-part").hidden = !state.sheet;
};
const look = async () => {
  let ended = false;
  try {
    const answer = await fetch("state.json", {cache: "no-store"});
    if (!answer.ok) throw new Error();
    const state = await answer.json();
    looks += 1;
    show(state);
    ended = state.ended;
    at("connection").textContent = ended ? "The run has ended. This page no longer changes." : "Follows the run.";
  } catch (error) {
    at("connection").textContent = "Nothing answers: the command that served this page may have ended.";
  }
  if (!ended) setTimeout(look, POLL);
};
look();""".replace("POLL", str(int(1000 * POLL_SECONDS)))

_HASH = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; script-src 'sha256-{_HASH}'; style-src 'unsafe-inline'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_META_POLICY = POLICY.removesuffix("; frame-ancestors 'none'")  # which only a header may say

PAGE = """
{% extends "frame" %}
{% from "parts" import table %}

{% block policy %}{{ policy }}{% endblock %}
{% block title %}SiloGAN live view{% endblock %}
{% block style %}
#warnings { margin: 0; }
#phases td:last-child, #sites td:last-child { min-width: 9rem; }
[hidden] { display: none; }
{% endblock %}

{% block header %}
<p class="kicker">SiloGAN · live view</p>
<h1 id="title">A run begins</h1>
<p class="meta"><span id="terms"></span></p>
<p class="banner care" id="verdict" role="status" hidden></p>
<p class="lede"><strong id="left"></strong></p>
<noscript><p class="banner bad">This page needs its script to follow the run.</p></noscript>
{% endblock %}

{% block main %}
<section id="warnings-part" class="banner care" aria-label="Warnings" hidden><ul id="warnings"></ul></section>
{% for id, heading, caption, head in parts %}
<section id="{{ id }}-part" hidden>
<h2>{{ heading }}</h2>
<div class="scroll" role="region" aria-label="{{ caption }}" tabindex="0">
<table><caption>{{ caption }}</caption>
<thead><tr>{% for cell in head %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody id="{{ id }}"></tbody></table></div>
</section>
{% endfor %}
<section id="sheet-part" hidden>
<h2>Newest samples</h2>
<figure><div class="sheet"><img id="sheet" alt="Synthetic samples, in columns for each class, newest round."></div>
<figcaption><strong>Synthetic, not patients.</strong> Not for diagnosis.</figcaption></figure>
</section>
{% endblock %}

{% block footer %}
<span id="connection" role="status">Waiting for the run.</span> It only reads: closing this page changes nothing.
<script>{% include "script" %}</script>
{%- endblock %}
"""

PARTS = (
    ("phases", "Phases", "What is going on", ("Phase", "State", "Progress")),
    (
        "sites",
        "Hospitals in the run",
        "Each hospital, with the ε that it may have spent",
        ("Hospital", "State", "ε"),
    ),
    ("nodes", "Nodes", "Every enrolled hospital, and whether its node is heard", ("Hospital", "Node")),
    ("runs", "Runs", "All runs of this coordinator", ("Run", "State", "Progress")),
)

PAGES = environment(page=PAGE, script=SCRIPT)


def live_contents(state: Callable[[], dict[str, Any]], run_dir: Callable[[], Path | None]) -> Contents:
    """All that the live view serves: the page, the state and the newest contact sheet.

    Args:
        state: of `silogan.server.operations.run_state.run_state`, with `left`, `ended` and what a coordinator adds;
            asked for by each poll.
        run_dir: the run whose samples are shown; None if there is none.
    """
    page = render_live_page().encode()

    def sheet() -> Content | None:
        folder = run_dir()
        content = None if folder is None else sheet_bytes(folder)
        return None if content is None else Content("image/png", content)

    return {
        "": lambda: Content("text/html; charset=utf-8", page, POLICY),
        "state.json": lambda: Content("application/json", json.dumps(state(), allow_nan=False).encode()),
        "sheet.png": sheet,
    }


def render_live_page() -> str:
    """The page, which is the same for every run."""
    return rendered(PAGES, policy=_META_POLICY, parts=PARTS)
