"""Runs a workflow on a ComfyUI server and saves the video, or the sound, showing progress on the way.

    python docs/client.py workflows/api/text-to-video.api.json film.mp4 --set LTXDuoTextEncode.prompt="A storm at sea"

--set NODE.INPUT=VALUE changes an input; NODE is a node's type or its number in the file.  Needs only aiohttp.
"""

import argparse
import asyncio
import json
import uuid
from pathlib import Path

import aiohttp


async def make_video(server: str, workflow: dict, target: Path) -> None:
    client = uuid.uuid4().hex
    http = aiohttp.ClientSession(f"http://{server}")
    async with http as session, session.ws_connect(f"/ws?clientId={client}") as socket:
        async with session.post("/prompt", json={"prompt": workflow, "client_id": client}) as answer:
            queued = await answer.json()
        if answer.status != 200:
            raise SystemExit(json.dumps(queued.get("node_errors") or queued["error"], indent=2))
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:  # a preview picture
                continue
            event = json.loads(message.data)
            kind, data = event["type"], event["data"]
            if data.get("prompt_id") != queued["prompt_id"]:
                continue
            if kind == "progress":
                print(f"{workflow[data['node']]['class_type']}: {data['value'] / data['max']:.0%}", flush=True)
            elif kind in ("execution_error", "execution_interrupted"):
                raise SystemExit(f"{data['node_type']}: {data.get('exception_message', 'interrupted')}")
            elif kind == "executing" and data["node"] is None:  # the end
                break
        async with session.get(f"/history/{queued['prompt_id']}") as answer:
            outputs = (await answer.json())[queued["prompt_id"]]["outputs"]
        files = [file for shown in outputs.values() for kind in ("images", "audio") for file in shown.get(kind, [])]
        made = [file for file in files if file["type"] == "output" and file["filename"].endswith(target.suffix)]
        if not made:
            raise SystemExit(f"the workflow saves no {target.suffix}: {[file['filename'] for file in files]}")
        async with session.get("/view", params=made[0]) as answer:
            target.write_bytes(await answer.read())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workflow", type=Path, help="an .api.json file")
    parser.add_argument("target", type=Path, help="the .mp4 to write; the .flac of text-to-sound")
    parser.add_argument("--server", default="127.0.0.1:8188")
    parser.add_argument("--set", action="append", default=[], metavar="NODE.INPUT=VALUE")
    options = parser.parse_args()
    prompt = json.loads(options.workflow.read_text(encoding="utf-8"))
    for change in options.set:
        (node, name), value = change.split("=")[0].split("."), change.partition("=")[2]
        for entry in [entry for key, entry in prompt.items() if node in (key, entry["class_type"])]:
            entry["inputs"][name] = value if isinstance(entry["inputs"][name], str) else json.loads(value)
    asyncio.run(make_video(options.server, prompt, options.target))
