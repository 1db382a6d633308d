"""The tools for LangChain's models and agents."""

from __future__ import annotations

from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from var_plugin.errors import VarPluginError
from var_plugin.index.index import VideoIndex
from var_plugin.tools import TOOLS
from var_plugin.tools.base import Answer, Tool


def langchain_tools(index: VideoIndex) -> list[BaseTool]:
    """Return the tools over an index: search_moments, similar_moments, get_moment, list_cameras, summarise_timeline.

    The model reads the content, a text without paths. The artifact, for the program around the model, is the same as a
    JSON object, and under `files` what can be opened: dicts of `kind` (video, thumbnail or clip), `id` of the moment
    and `path`. Arguments that make no sense, and a search that fails, come back to the model as an error message.
    Asynchronous calls run in a worker thread.
    """
    return [_adapted(tool, index) for tool in TOOLS]


def _adapted(tool: Tool, index: VideoIndex) -> BaseTool:
    def run(**arguments: Any) -> tuple[str, dict[str, Any]]:
        try:
            answer = tool.run(index, tool.arguments(**arguments))
        except VarPluginError as error:
            raise ToolException(str(error)) from error
        return answer.text, _artifact(answer)

    return StructuredTool(
        name=tool.name,
        description=tool.description,
        args_schema=tool.arguments,
        func=run,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=True,
    )


def _artifact(answer: Answer) -> dict[str, Any]:
    files = [{"kind": file.kind, "id": file.id, "path": str(file.path)} for file in answer.files]
    return {**answer.data.model_dump(mode="json"), "files": files}
