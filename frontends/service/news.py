"""News: whoever waits in the event loop is told that something about jobs has changed."""

from __future__ import annotations

import asyncio
import contextlib


class News:
    """Tells whoever waits in the event loop that something about jobs has changed.

    Examples:
        >>> news = News()
        >>> news.tell()  # nobody waits
        >>> asyncio.run(news.wait(0.01))
    """

    def __init__(self) -> None:
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        self.stopping = False

    def tell(self) -> None:
        """From any thread."""
        for loop, event in list(self._waiting):
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(event.set)

    async def wait(self, seconds: float) -> None:
        """Until there is news, but not longer."""
        entry = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.add(entry)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(entry[1].wait(), seconds)
        finally:
            self._waiting.discard(entry)
