"""What a notebook shows: pictures that hold the mask, text that stays text, no script."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from scratchcard.pruning.mask import Mask
from scratchcard.pruning.ticket import Ticket
from scratchcard.pruning.ticket_html import LARGEST, MOST_LAYERS, SIDE, Tickets, kept_shares, ticket_html

EVIL = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


class Read(HTMLParser):
    """Elements with their attributes, all closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def pictures(html: str) -> list[np.ndarray]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in found]


@pytest.mark.parametrize("shape", [(3, 2), (64, 64), (40, 1, 5, 5), (7,)])
def test_a_picture_of_a_small_layer_is_its_mask(shape: tuple[int, ...]) -> None:
    kept = torch.rand(shape) < 0.4
    kept.view(-1)[0] = True
    (picture,) = pictures(ticket_html("t", Mask({"weight": kept})))
    rows = kept.reshape(shape[0] if len(shape) > 1 else 1, -1).numpy()
    assert ((picture[..., 3] == 255) == rows).all()
    assert ((picture[..., 3] == 0) == ~rows).all()


def test_blocks_of_a_large_layer_have_their_share() -> None:
    kept = torch.rand(130, 200) < 0.1
    shares = kept_shares(kept)
    assert shares.shape == (44, 50)
    for row, column in ((0, 0), (20, 30), (43, 49)):
        block = kept[3 * row : 3 * row + 3, 4 * column : 4 * column + 4]
        assert shares[row, column] == pytest.approx(float(block.float().mean()))
    assert max(kept_shares(torch.ones(1, 10_000)).shape) <= SIDE


def test_names_stay_text_and_every_element_is_closed() -> None:
    mask = Mask({EVIL: torch.tensor([[True, False]])})
    read = Read(ticket_html(EVIL, mask))
    assert read.open == []
    assert {tag for tag, _ in read.elements} == {"p", "table", "thead", "tbody", "tr", "th", "td", "span", "img"}
    (image,) = [attributes for tag, attributes in read.elements if tag == "img"]
    assert image["alt"] == f"mask of {EVIL}: 1 of 2 weights are kept"
    assert image.keys() == {"alt", "style", "src"}


def test_many_or_very_large_layers_are_rows_without_a_picture() -> None:
    several = Mask({f"{number}.weight": torch.ones(2, 2, dtype=torch.bool) for number in range(MOST_LAYERS + 3)})
    html = ticket_html("t", several)
    assert len(pictures(html)) == MOST_LAYERS
    assert html.count("<tr>") == MOST_LAYERS + 4
    large = Mask({"a": torch.zeros(1, LARGEST + 1, dtype=torch.bool), "b": torch.zeros(2, 2, dtype=torch.bool)})
    (picture,) = pictures(ticket_html("t", large))
    assert not picture[..., 3].any()


def test_tickets_of_several_densities_are_shown_one_below_the_other() -> None:
    network = nn.Linear(4, 4)
    masks = [Mask({"weight": torch.eye(4, dtype=torch.bool)}), Mask({"weight": torch.ones(4, 4, dtype=torch.bool)})]
    tickets = Tickets({mask.density: Ticket.of(network, mask) for mask in masks})
    assert tickets._repr_html_() == tickets[1.0]._repr_html_() + tickets[0.25]._repr_html_()
