"""Search an index over the Model Context Protocol, as an assistant does: python mcp_client.py INDEX QUERY

Here the server runs in the same process. `Client("http://127.0.0.1:8765/mcp")` connects to one that runs elsewhere.
"""

import asyncio
import sys

from mcp import Client

import var_plugin as vp
from var_plugin.tools.mcp import mcp_server


async def main(location, query):
    with vp.open_index(location) as index:
        async with Client(mcp_server(index)) as client:
            for tool in (await client.list_tools()).tools:
                print(f"{tool.name}: {tool.description}")
            result = await client.call_tool("search_moments", {"query": query, "limit": 2})
            print(result.content[0].text)


if len(sys.argv) != 3:
    sys.exit("usage: python mcp_client.py INDEX QUERY")
asyncio.run(main(*sys.argv[1:]))
