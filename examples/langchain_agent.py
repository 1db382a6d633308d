"""Let a chat model answer from footage: python langchain_agent.py INDEX QUESTION [PROVIDER:MODEL]

With a third word, such as anthropic:claude-sonnet-4-5 or ollama:qwen3, LangChain's init_chat_model makes the model (the
provider's package and key must be there). Without it a script stands in for the model and everything runs offline.
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


class Script(BaseChatModel):
    """Searches, looks at the best moment, and repeats what it was told."""

    @property
    def _llm_type(self):
        return "script"

    def bind_tools(self, tools, **options):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **options):
        told = [message.content for message in messages if isinstance(message, ToolMessage)]
        best = re.search(r"Moment (\S+):", told[0]) if told else None
        if not told:
            reply = call("search_moments", query=messages[-1].content)
        elif best and len(told) == 1:
            reply = call("get_moment", moment_id=best[1])
        else:
            reply = AIMessage(told[-1])
        return ChatResult(generations=[ChatGeneration(message=reply)])


def call(tool, **arguments):
    return AIMessage("", tool_calls=[{"name": tool, "args": arguments, "id": tool, "type": "tool_call"}])


location, question, *name = sys.argv[1:]
with vp.open_index(location) as index:
    agent = create_agent(
        init_chat_model(name[0]) if name else Script(),
        langchain_tools(index),
        system_prompt="Answer from the footage alone. Name camera and time, and say when nothing fits.",
    )
    for message in agent.invoke({"messages": [("user", question)]})["messages"]:
        for asked in getattr(message, "tool_calls", []):
            print(f"{asked['name']}({asked['args']})")
        if isinstance(message, ToolMessage):
            print(*[file["path"] for file in message.artifact["files"] if file["kind"] != "video"])
    print(message.content)
