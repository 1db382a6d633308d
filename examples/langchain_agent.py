"""Answer questions about footage with a chat model: python langchain_agent.py INDEX QUESTION [PROVIDER:MODEL]

With a third argument, such as anthropic:claude-sonnet-4-5 or ollama:qwen3, LangChain's init_chat_model creates the
model. This needs the provider's package and key. Without it a scripted model is used and everything runs offline.
"""

import re
import sys

from langchain.agents import create_agent
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult

import var_plugin as vp
from var_plugin.tools.langchain import langchain_tools


class ScriptedModel(BaseChatModel):
    """Searches, opens the best moment, and answers with the text of the last tool result."""

    @property
    def _llm_type(self):
        return "script"

    def bind_tools(self, tools, **options):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **options):
        results = [message.content for message in messages if isinstance(message, ToolMessage)]
        best = re.search(r"Moment (\S+):", results[0]) if results else None
        if not results:
            reply = call("search_moments", query=messages[-1].content)
        elif best and len(results) == 1:
            reply = call("get_moment", moment_id=best[1])
        else:
            reply = AIMessage(results[-1])
        return ChatResult(generations=[ChatGeneration(message=reply)])


def call(tool, **arguments):
    return AIMessage("", tool_calls=[{"name": tool, "args": arguments, "id": tool, "type": "tool_call"}])


if len(sys.argv) not in (3, 4):
    sys.exit("usage: python langchain_agent.py INDEX QUESTION [PROVIDER:MODEL]")
location, question, *name = sys.argv[1:]
with vp.open_index(location) as index:
    agent = create_agent(
        init_chat_model(name[0]) if name else ScriptedModel(),
        langchain_tools(index),
        system_prompt="Answer from the footage alone. Name camera and time, and say when nothing fits.",
    )
    for message in agent.invoke({"messages": [("user", question)]})["messages"]:
        for tool_call in getattr(message, "tool_calls", []):
            print(f"{tool_call['name']}({tool_call['args']})")
        if isinstance(message, ToolMessage):
            print(*[file["path"] for file in message.artifact["files"] if file["kind"] != "video"])
    print(message.content)
