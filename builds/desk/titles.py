"""Titles with the little markup that authors write in them: ``<i>``, ``<b>``, ``<sub>``, ``<sup>``, and simple formulas between dollars.

Everything is escaped first. Then only these four elements are made, each whole and rightly nested. What else looks like markup stays text.
"""

from __future__ import annotations

import re

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from builds.lib.text import visible

# Elements of escaped text that contain no other one: they are replaced from the inside out.
TEXT = r"(?:(?!&lt;/?(?:i|b|sub|sup)&gt;).)*"
ELEMENT = re.compile(rf"&lt;(i|b|sub|sup)&gt;({TEXT})&lt;/\1&gt;", re.DOTALL)
MAX_DEPTH = 8
TAG = re.compile(r"</?(?:i|b|sub|sup)>")
# A formula begins and ends with a dollar beside no space. A digit after the second one is a price.
FORMULA = re.compile(r"\$(?! )([^$\n]{1,80}?)(?<! )\$(?!\d)")
# Letters, numbers, signs and commands, with indices of one of these or of a group: nothing that would need a typesetter.
ATOM = r"(?:[A-Za-z0-9+\-=/.,()\[\]* ~]|\\[A-Za-z]++|\\,)"
INDEX = rf"[_^](?:\{{{ATOM}*\}}|{ATOM})"
SIMPLE = re.compile(rf"(?:{ATOM}|{INDEX})*")
PART = re.compile(rf"(?P<index>{INDEX})|\\(?P<command>[A-Za-z]++|,) ?|(?P<letters>[A-Za-z]+)|(?P<sign>.)")
COMMAND = re.compile(r"\\([A-Za-z]+|,)")
NAMED = (
    "alpha α beta β gamma γ delta δ epsilon ε varepsilon ε zeta ζ eta η theta θ iota ι kappa κ lambda λ mu μ nu ν xi ξ pi π rho ρ sigma σ "
    "tau τ upsilon υ phi φ varphi φ chi χ psi ψ omega ω Gamma Γ Delta Δ Theta Θ Lambda Λ Xi Ξ Pi Π Sigma Σ Phi Φ Psi Ψ Omega Ω "
    "times × cdot · pm ± to → rightarrow → infty ∞ approx ≈ sim ∼ leq ≤ le ≤ geq ≥ ge ≥ neq ≠ circ ° ell ℓ hbar ℏ ldots …"
)
_WORDS = NAMED.split()
SYMBOLS = {",": "\u2009", **dict(zip(_WORDS[::2], _WORDS[1::2], strict=True))}


def formatted(title: str) -> SafeString:
    """The title as HTML."""
    html = FORMULA.sub(_formula, escape(visible(title)))
    for _ in range(MAX_DEPTH):
        html, found = ELEMENT.subn(r"<\1>\2</\1>", html)
        if not found:
            break
    return mark_safe(html)  # noqa: S308 - escaped first; ELEMENT and _formula make only elements of their own


def unformatted(title: str) -> str:
    """The title as plain text, for places that show no markup."""
    return visible(TAG.sub("", title))


def _formula(found: re.Match[str]) -> str:
    """A simple formula with its symbols and indices; any other as it was written."""
    formula = found[1]
    if not SIMPLE.fullmatch(formula) or not SYMBOLS.keys() >= set(COMMAND.findall(formula)):
        return found[0]
    return _typeset(formula)


def _typeset(formula: str) -> str:
    return "".join(_part(part) for part in PART.finditer(formula))


def _part(part: re.Match[str]) -> str:
    if index := part["index"]:
        name = "sub" if index[0] == "_" else "sup"
        return f"<{name}>{_typeset(index[1:].strip('{}'))}</{name}>"
    if letters := part["letters"]:
        return f"<i>{letters}</i>"
    return SYMBOLS.get(part["command"], "") if part["command"] else str(part["sign"])
