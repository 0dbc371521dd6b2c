"""An SFTP server on loopback: `python -m tests.serving.sftp_server FOLDER PORT`."""

import asyncio
import sys
from pathlib import Path

import asyncssh


async def serve(folder: Path, port: int) -> None:
    """Serves `folder/files` to clients with the key in `folder/authorized`."""
    server = await asyncssh.listen(
        "127.0.0.1",
        port,
        server_host_keys=[str(folder / "host_key")],
        authorized_client_keys=str(folder / "authorized"),
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(folder / "files").encode()),
    )
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
