"""Ask as an assistant would, over the Model Context Protocol: python mcp_client.py INDEX QUESTION

The server runs in this process here; `Client("http://127.0.0.1:8765/mcp")` reaches one that runs elsewhere.
"""

import asyncio
import sys

from mcp import Client

import var_plugin as vp
from var_plugin.tools.mcp import mcp_server


async def main(location, question):
    with vp.open_index(location) as index:
        async with Client(mcp_server(index)) as client:
            for tool in (await client.list_tools()).tools:
                print(f"{tool.name}: {tool.description}")
            found = await client.call_tool("search_moments", {"query": question, "limit": 2})
            print(found.content[0].text)


asyncio.run(main(*sys.argv[1:]))
