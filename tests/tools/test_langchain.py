from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from var_plugin.api import Index
from var_plugin.tools import TOOLS
from var_plugin.tools.langchain import langchain_tools


class ForEachTool:
    """Parameters of LangChain's conformance suites per tool."""

    @pytest.fixture(autouse=True, params=[tool.name for tool in TOOLS])
    def _one_tool(self, request: pytest.FixtureRequest, footage: Index) -> None:
        self.footage, self.name = footage, request.param

    @property
    def tool_constructor(self) -> BaseTool:
        return next(tool for tool in langchain_tools(self.footage) if tool.name == self.name)

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        if self.name == "search_moments":
            return {"query": "green", "limit": 2}
        return {"moment_id": self.footage.search("green")[0].id} if "moment" in self.name else {}


class TestStandardUnit(ForEachTool, ToolsUnitTests):
    """LangChain's unit tests for tools."""


class TestStandardIntegration(ForEachTool, ToolsIntegrationTests):
    """LangChain's integration tests for tools."""


@pytest.fixture
def tools(footage: Index) -> dict[str, BaseTool]:
    return {tool.name: tool for tool in langchain_tools(footage)}


def call(tool: BaseTool, **arguments: Any) -> ToolMessage:
    return tool.invoke({"name": tool.name, "args": arguments, "id": "1", "type": "tool_call"})


def test_tool_schemas_for_models_are_valid(tools: dict[str, BaseTool]) -> None:
    for tool in tools.values():
        function = convert_to_openai_tool(tool)["function"]
        assert function["description"]
        Draft202012Validator.check_schema(function["parameters"])
        assert function["parameters"]["type"] == "object"


def test_tools_return_text_and_file_artifacts(tools: dict[str, BaseTool]) -> None:
    result = call(tools["search_moments"], query="green", limit=1)
    (moment,) = result.artifact["moments"]
    assert moment["id"] in result.content
    (video,) = result.artifact["files"]
    assert (video["kind"], Path(video["path"]).name) == ("video", moment["file"])
    moment_result = call(tools["get_moment"], moment_id=moment["id"])
    assert [file["kind"] for file in moment_result.artifact["files"]] == ["thumbnail", "clip"]
    assert all(Path(file["path"]).is_file() for file in moment_result.artifact["files"])
    assert not any(file["path"] in moment_result.content for file in moment_result.artifact["files"])
    assert json.loads(json.dumps(moment_result.artifact)) == moment_result.artifact


def test_errors_are_returned_to_the_model(tools: dict[str, BaseTool]) -> None:
    unknown = call(tools["search_moments"], query="green", cameras=["attic"])
    assert unknown.status == "error"
    assert 'no camera "attic" in the index; use a name from list_cameras' in unknown.content
    invalid = call(tools["search_moments"], query="green", limit=0)
    assert invalid.status == "error"
    assert invalid.artifact is None
