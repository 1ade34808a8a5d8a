"""What a notebook shows of tickets: a row for each layer, its mask as a picture; no script, and text stays text."""

from __future__ import annotations

import base64
import io
from html import escape
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scratchcard.pruning.mask import Mask

if TYPE_CHECKING:
    from scratchcard.pruning.ticket import Ticket

SIDE = 64
"""Most pixels of a picture's side."""
MOST_LAYERS = 40
LARGEST = 8_000_000
"""Weights of a layer that is still drawn."""
_COLOUR = (45, 125, 210)
_BAR = "display:block;height:8px;min-width:1px;background:rgb{};width:{:.1f}px"


class Tickets(dict[float, "Ticket"]):
    """Tickets by density, as one search finds them; a notebook shows one below the other.

    Examples:
        >>> ticket = sc.Ticket.of(nn.Linear(4, 2), sc.Mask({"weight": torch.eye(2, 4, dtype=torch.bool)}))
        >>> Tickets({0.25: ticket})
        {0.25: Ticket(2 of 8 weights, density 0.25, untrained)}
    """

    def _repr_html_(self) -> str:
        return "".join(ticket._repr_html_() for _, ticket in sorted(self.items(), reverse=True))


def ticket_html(title: str, mask: Mask) -> str:
    """A ticket's layers as a table: shape, kept weights, density as a number and a bar, and the mask as a picture.

    A picture has a row for each unit and a column for each of its weights, of large layers the share of blocks. The
    first `MOST_LAYERS` layers are drawn, and none of more than `LARGEST` weights.

    Examples:
        >>> ticket_html("<b>", Mask({"weight": torch.eye(2, 4, dtype=torch.bool)}))[:16]
        '<p>&lt;b&gt;</p>'
    """
    shares = {name: float(kept.float().mean()) if kept.numel() else 0.0 for name, kept in mask.tensors.items()}
    largest = max(shares.values(), default=0.0) or 1.0
    rows = []
    for number, (name, kept) in enumerate(mask.tensors.items()):
        bar = f'<span style="{_BAR.format(_COLOUR, 80 * shares[name] / largest)}"></span>'
        drawn = _picture(kept, name) if number < MOST_LAYERS and 0 < kept.numel() <= LARGEST else ""
        cells = (escape(name), " × ".join(map(str, kept.shape)), f"{int(kept.sum()):,}", f"{shares[name]:.4f}")
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in (*cells, bar, drawn))}</tr>")
    words = ("layer", "shape", "kept", "density", "of the densest", "mask")
    head = "".join(f'<th scope="col">{word}</th>' for word in words)
    return f"<p>{escape(title)}</p><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _picture(kept: Tensor, name: str) -> str:
    from PIL import Image

    shares = kept_shares(kept)
    shades = (shares / shares.max().clamp(min=torch.finfo(shares.dtype).tiny)).sqrt().mul(255).round().byte()
    pixels = torch.empty(*shades.shape, 4, dtype=torch.uint8)
    pixels[..., :3] = torch.tensor(_COLOUR, dtype=torch.uint8)
    pixels[..., 3] = shades
    file = io.BytesIO()
    Image.fromarray(pixels.numpy(), "RGBA").save(file, format="PNG", optimize=True)
    size = max(1, min(4, SIDE // max(shades.shape)))
    style = f"width:{size * shades.shape[1]}px;image-rendering:pixelated;border:1px solid rgb(128,128,128)"
    words = f"mask of {name}: {int(kept.sum()):,} of {kept.numel():,} weights are kept"
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{escape(words)}" style="{style}" src="data:image/png;base64,{data}">'


def kept_shares(kept: Tensor) -> Tensor:
    """The share of kept weights in each block of a layer's mask, at most `SIDE` blocks high and wide.

    Args:
        kept: `(units, ...)`; what follows the units is one row.

    Examples:
        >>> kept_shares(torch.eye(128, dtype=torch.bool)).shape
        torch.Size([64, 64])
    """
    rows = kept.reshape(1, 1, kept.shape[0] if kept.dim() > 1 else 1, -1).float()
    high, wide = (-(-size // SIDE) for size in rows.shape[2:])
    pooled = torch.nn.functional.avg_pool2d(rows, (high, wide), ceil_mode=True, count_include_pad=False)
    return pooled[0, 0]
