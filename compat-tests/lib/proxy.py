"""Passes bytes between the servers of an ensemble until it is told that two of them cannot reach each other.

network.py starts it with a directory: `links.json` says where to listen and where to pass bytes on to, `cuts.json` lists the cut
pairs, and `applied.json` repeats the cuts once they are in force. A cut link loses nothing and closes nothing: like TCP over a
broken cable, it continues where it stopped once the cable is mended.
"""

import asyncio
import json
import sys
from pathlib import Path

POLL_S = 0.02


class Links:
    def __init__(self, directory):
        self.directory = directory
        self.cuts = set()
        self.changed = asyncio.Condition()

    async def follow_cuts(self):
        applied = None
        while True:
            text = (self.directory / "cuts.json").read_text()
            if text != applied:
                async with self.changed:
                    self.cuts = {tuple(sorted(pair)) for pair in json.loads(text)}
                    self.changed.notify_all()
                (self.directory / "applied.new").write_text(text)
                (self.directory / "applied.new").rename(self.directory / "applied.json")
                applied = text
            await asyncio.sleep(POLL_S)

    async def uncut(self, pair):
        if pair in self.cuts:
            async with self.changed:
                await self.changed.wait_for(lambda: pair not in self.cuts)

    async def listen(self, link):
        pair = tuple(sorted(link["pair"]))

        async def accepted(reader, writer):
            await self.uncut(pair)
            try:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", link["to"])
            except OSError:
                writer.transport.abort()
                return
            await asyncio.gather(self.pump(pair, reader, far_writer), self.pump(pair, far_reader, writer))

        return await asyncio.start_server(accepted, "127.0.0.1", link["listen"])

    async def pump(self, pair, reader, writer):
        """Copies one direction until either end closes, then closes the other end, too."""
        try:
            while data := await reader.read(1 << 16):
                await self.uncut(pair)
                writer.write(data)
                await writer.drain()
            await self.uncut(pair)
        except OSError:
            pass
        writer.close()


async def main(directory):
    links = Links(Path(directory))
    servers = [await links.listen(link) for link in json.loads((links.directory / "links.json").read_text())]
    await asyncio.gather(links.follow_cuts(), *(server.serve_forever() for server in servers))


asyncio.run(main(sys.argv[1]))
