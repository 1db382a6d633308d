"""The tools as LangChain tools."""

from __future__ import annotations

from typing import Any

from langchain_core.tools import BaseTool, StructuredTool, ToolException

from var_plugin.api import Index
from var_plugin.errors import VarPluginError
from var_plugin.tools import TOOLS
from var_plugin.tools.base import Tool, ToolResult


def langchain_tools(index: Index) -> list[BaseTool]:
    """Return the tools over an index: search_moments, similar_moments, get_moment, list_cameras, summarise_timeline.

    The content of a tool message is a text without paths for the model. Its artifact is the same result as a JSON
    object for the calling program. `files` in the artifact lists files as dicts with `kind` (video, thumbnail or clip),
    `id` of the moment and `path`. Invalid arguments and failed searches are returned to the model as error messages.
    Asynchronous calls run in a worker thread.
    """
    return [_langchain_tool(tool, index) for tool in TOOLS]


def _langchain_tool(tool: Tool, index: Index) -> BaseTool:
    def run(**arguments: Any) -> tuple[str, dict[str, Any]]:
        try:
            result = tool.run(index, tool.arguments(**arguments))
        except VarPluginError as error:
            raise ToolException(str(error)) from error
        return result.text, _artifact(result)

    return StructuredTool(
        name=tool.name,
        description=tool.description,
        args_schema=tool.arguments,
        func=run,
        response_format="content_and_artifact",
        handle_tool_error=True,
        handle_validation_error=True,
    )


def _artifact(result: ToolResult) -> dict[str, Any]:
    files = [{"kind": file.kind, "id": file.id, "path": str(file.path)} for file in result.files]
    return {**result.data.model_dump(mode="json"), "files": files}
