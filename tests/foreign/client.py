"""A client of the bundled signaling server, written from docs/signaling.md alone, on a WebRTC stack of another language.

Joins a room, makes or takes one call, sends video and audio, echoes what arrives on the data channel `echo`, and prints one
line of JSON about what it received once the other end has left, or once it is told to end.

    client.py wss://HOST:PORT/ws CA.pem ROOM offer|answer [mute|hang-up]

Once a second of video has come it may stop sending (`mute`), or close its connection and stay in the room (`hang-up`).
Without arguments it takes all that from the environment, as a [[network.program]] (docs/scenario.md), with its ICE servers.
"""

import asyncio
import json
import os
import re
import signal
import ssl
import sys

import websockets
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from aiortc.sdp import candidate_from_sdp


class Counter:
    def __init__(self, connection):
        self.connection = connection
        self.a_second_came = asyncio.Event()
        self.frames = {"audio": 0, "video": 0}
        self.size = None
        self.messages = 0
        self.path = []

    async def consume(self, track):
        try:
            while True:
                frame = await track.recv()
                self.frames[track.kind] += 1
                # aiortc forgets its pairs once the other end hangs up, which may come before the server says so.
                self.path = path(self.connection) or self.path
                if track.kind == "video":
                    self.size = [frame.width, frame.height]
                if self.frames["video"] == 30:
                    self.a_second_came.set()
        except Exception:  # the track ends when the other end hangs up
            pass


def path(connection):
    """The types of the candidates that were nominated, the own one first; aiortc has no statistics of them."""
    nominated = connection.getReceivers()[0].transport.transport._connection._nominated
    return [[pair.local_candidate.type, pair.remote_candidate.type] for pair in nominated.values()]


async def main(url, ca, room, role, ending=None, servers=()):
    context = ssl.create_default_context(cafile=ca)
    # A harness peer carries everything over one transport (docs/signaling.md).
    connection = RTCPeerConnection(
        RTCConfiguration(iceServers=list(servers), bundlePolicy=RTCBundlePolicy.MAX_BUNDLE)
    )
    counter = Counter(connection)

    @connection.on("track")
    def on_track(track):
        asyncio.ensure_future(counter.consume(track))

    def echo(channel):
        @channel.on("message")
        def on_message(message):
            counter.messages += 1
            if role == "answer":
                channel.send(message)

    connection.on("datachannel", echo)

    async def talk_to_the_server():
        async with websockets.connect(url, ssl=context, max_size=65536) as socket:

            async def send(message):
                await socket.send(json.dumps(message))

            welcome = json.loads(await socket.recv())
            assert welcome["type"] == "welcome", welcome
            await send({"type": "join", "room": room})

            async def offer(to):
                connection.addTrack(VideoStreamTrack())
                connection.addTrack(AudioStreamTrack())
                channel = connection.createDataChannel("echo")
                echo(channel)

                @channel.on("open")
                def on_open():
                    async def talk():
                        while channel.readyState == "open":
                            channel.send(b"a message of the foreign client")
                            await asyncio.sleep(0.1)

                    asyncio.ensure_future(talk())

                await connection.setLocalDescription(await connection.createOffer())
                await send({"type": "offer", "to": to, "sdp": connection.localDescription.sdp})
                await send({"type": "candidate", "to": to, "candidate": None})

            other = None
            async for text in socket:
                message = json.loads(text)
                kind = message["type"]
                if kind == "joined" and role == "offer" and message["peers"]:
                    other = message["peers"][0]
                    await offer(other)
                elif kind == "peer-joined" and role == "offer" and other is None:
                    other = message["id"]
                    await offer(other)
                elif kind == "offer" and role == "answer":
                    other = message["from"]
                    await connection.setRemoteDescription(RTCSessionDescription(message["sdp"], "offer"))
                    connection.addTrack(VideoStreamTrack())
                    connection.addTrack(AudioStreamTrack())
                    await connection.setLocalDescription(await connection.createAnswer())
                    await send({"type": "answer", "to": other, "sdp": connection.localDescription.sdp})
                    await send({"type": "candidate", "to": other, "candidate": None})
                elif kind == "answer" and message["from"] == other:
                    await connection.setRemoteDescription(RTCSessionDescription(message["sdp"], "answer"))
                elif kind == "candidate" and message["from"] == other and message["candidate"]:
                    init = message["candidate"]
                    if init.get("candidate"):
                        candidate = candidate_from_sdp(init["candidate"].split(":", 1)[1])
                        candidate.sdpMid = init.get("sdpMid")
                        candidate.sdpMLineIndex = init.get("sdpMLineIndex")
                        await connection.addIceCandidate(candidate)
                elif kind == "peer-left" and message["id"] == other:
                    break
                elif kind == "error":
                    raise SystemExit(f"the server says {message['code']}: {message['message']}")

    async def end_early():
        await counter.a_second_came.wait()
        if ending == "hang-up":
            await connection.close()
        else:
            for sender in connection.getSenders():
                sender.replaceTrack(None)

    early = asyncio.ensure_future(end_early()) if ending else None
    call = asyncio.ensure_future(talk_to_the_server())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, call.cancel)
    try:
        await call
    except asyncio.CancelledError:  # the run is over
        pass
    hashes = re.findall("a=fingerprint:([^ ]+)", connection.localDescription.sdp)
    said = {
        "frames": counter.frames,
        "size": counter.size,
        "messages": counter.messages,
        "path": counter.path,
        "fingerprints": sorted(set(hashes)),
    }
    print(json.dumps(said), flush=True)
    await connection.close()
    if early:
        early.cancel()


def told():
    """What the harness tells a program that it starts."""
    tell = os.environ
    servers = [RTCIceServer(**server) for server in json.loads(tell["HARNESS_ICE_SERVERS"])]
    role = "offer" if tell["HARNESS_ROLE"] == "offerer" else "answer"
    return tell["HARNESS_SIGNALING_URL"], tell["HARNESS_CA_FILE"], tell["HARNESS_ROOM"], role, None, servers


if __name__ == "__main__":
    asyncio.run(main(*(sys.argv[1:6] or told())))
