"""A hook of MkDocs: adds the pages that come from elsewhere than docs/.

The API reference comes from the comments of the .proto files (build/api.binpb, which `make proto`
writes), the SDK's pages from its docstrings and its README, and two pages from the project's root.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet
from mkdocs.structure.files import File

from tools.protoc_gen_constellation_rest import read_comments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor_pb2 import (
        DescriptorProto,
        EnumDescriptorProto,
        FileDescriptorProto,
        MethodDescriptorProto,
        ServiceDescriptorProto,
    )
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
API: Final = ROOT / "build" / "api.binpb"
_PACKAGE: Final = "constellation.v1"
_FOLDER: Final = "constellation/v1/"
_TITLES: Final = {
    "sync": "SyncService",
    "patterns": "Patterns and content items",
    "shard": "ShardService",
    "aggregates": "AggregateService",
    "federation": "FederationService",
    "health": "HealthService",
    "process": "ProcessService",
}
_ROOT_PAGES: Final = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
_PAGE_OF: Final = {
    **_ROOT_PAGES,
    "README.md": "index.md",
    "clients/python/README.md": "sdk.md",
    "proto/constellation/v1": "reference/index.md",
}
"""The page of the site that stands for a file or folder outside docs/."""
_SDK_README: Final = ROOT / "clients" / "python" / "README.md"
_LINK: Final = re.compile(
    r"\[(?P<text>[^\]]*)\]\((?!https?:|#)(?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)"
)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill folders of the navigation with the pages in them."""
    config.nav = _fill_folders(config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of docs/."""
    pages = {
        **_make_api_pages(),
        "reference/sdk.md": _make_sdk_page(),
        "decisions/index.md": _make_decisions_page(),
        "sdk.md": _SDK_README.read_text("utf-8"),
        **{page: (ROOT / name).read_text("utf-8") for name, page in _ROOT_PAGES.items()},
    }
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links at the pages of the site; name files that the site does not have."""
    source = {
        "sdk.md": _SDK_README.parent,
        "contributing.md": ROOT,
        "changelog.md": ROOT,
    }.get(page.file.src_uri, (DOCS / page.file.src_uri).parent)

    def replace(link: re.Match[str]) -> str:
        target = (source / link["target"]).resolve()
        if not target.exists():
            return link[0]  # MkDocs finds it, or reports it
        name = str(target.relative_to(ROOT))
        if name in _PAGE_OF:
            target = DOCS / _PAGE_OF[name]
        if not target.is_relative_to(DOCS):
            return f"{link['text']} (`{name}`)"
        return f"[{link['text']}]({_find_relative(page, target)}{link['anchor'] or ''})"

    return _LINK.sub(replace, markdown)


def _find_relative(page: Page, target: Path) -> str:
    """Return the way from a page to a file or folder of docs/."""
    if target.is_dir():
        target /= "README.md" if (target / "README.md").exists() else "index.md"
    return os.path.relpath(target, (DOCS / page.file.src_uri).parent)


def _fill_folders(nav: Any) -> Any:
    """Return a part of the navigation with each folder's pages in its place."""
    if isinstance(nav, str) and nav.endswith("/"):
        pages = sorted(path.name for path in (DOCS / nav).glob("*.md"))
        first = "README.md" if "README.md" in pages else "index.md"
        return [nav + first, *(nav + page for page in pages if page != first)]
    if isinstance(nav, list):
        return [_fill_folders(each) for each in nav]
    if isinstance(nav, dict):
        return {title: _fill_folders(each) for title, each in nav.items()}
    return nav


def _make_decisions_page() -> str:
    """Return the page that lists the decision records."""
    lines = ["# Decisions", "", "What was decided, why, and what it cost.", ""]
    for path in sorted((DOCS / "decisions").glob("0*.md")):
        title = path.read_text("utf-8").partition("\n")[0].removeprefix("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines) + "\n"


def _make_sdk_page() -> str:
    """Return the page of the SDK's public names, which mkdocstrings fills in."""
    return (
        "# Reference of the set-top SDK\n\n"
        "::: constellation_settop\n    options:\n"
        "      show_root_heading: false\n      show_root_toc_entry: false\n"
    )


def _make_api_pages() -> dict[str, str]:
    """Return a page for each .proto file of ours, and one that lists the services."""
    if not API.exists():
        raise SystemExit(f"{API} is missing: run `make proto`")
    described = FileDescriptorSet.FromString(API.read_bytes())
    files = {
        file.name.removeprefix(_FOLDER).removesuffix(".proto"): file
        for file in described.file
        if file.package == _PACKAGE
    }
    pages = {
        f"reference/{name}.md": "\n".join(_write_file(files[name], title))
        for name, title in _TITLES.items()
    }
    return {"reference/index.md": "\n".join(_write_index(files)), **pages}


def _write_index(files: dict[str, FileDescriptorProto]) -> Iterator[str]:
    yield "# The API\n"
    yield (
        "Generated from the comments in `proto/constellation/v1/`. Every service answers gRPC; "
        "methods with a route answer REST as well.\n"
    )
    yield "| service | what it is for |\n|---|---|"
    for name in _TITLES:
        comments = dict(read_comments(files[name]))
        for service in files[name].service:
            text = comments.get(f"{_PACKAGE}.{service.name}", "")
            yield f"| [{service.name}]({name}.md) | {_cell(text)} |"


def _write_file(file: FileDescriptorProto, title: str) -> Iterator[str]:
    comments = dict(read_comments(file))
    yield f"# {title}\n"
    for service in file.service:
        yield from _write_service(service, comments)
    for message in file.message_type:
        yield from _write_message(message, comments)
    for enum in file.enum_type:
        yield from _write_enum(enum, comments)


def _write_service(service: ServiceDescriptorProto, comments: dict[str, str]) -> Iterator[str]:
    yield f"{comments.get(f'{_PACKAGE}.{service.name}', '')}\n"
    for method in service.method:
        yield f"## {service.name}.{method.name}\n"
        yield f"{comments.get(f'{_PACKAGE}.{service.name}.{method.name}', '')}\n"
        request = f"{'stream ' * method.client_streaming}{_short(method.input_type)}"
        response = f"{'stream ' * method.server_streaming}{_short(method.output_type)}"
        yield f"`{request}` → `{response}`\n"
        if route := _find_route(method):
            yield f"REST: `{route}`\n"


def _write_message(message: DescriptorProto, comments: dict[str, str]) -> Iterator[str]:
    yield f"## {message.name}\n"
    yield f"{comments.get(f'{_PACKAGE}.{message.name}', '')}\n"
    if not message.field:
        return
    yield "| field | type | meaning |\n|---|---|---|"
    for field in message.field:
        text = comments.get(f"{_PACKAGE}.{message.name}.{field.name}", "")
        yield f"| `{field.name}` = {field.number} | `{_describe_type(field)}` | {_cell(text)} |"
    yield ""


def _write_enum(enum: EnumDescriptorProto, comments: dict[str, str]) -> Iterator[str]:
    yield f"## {enum.name}\n"
    yield f"{comments.get(f'{_PACKAGE}.{enum.name}', '')}\n"
    yield "| value | number | meaning |\n|---|---|---|"
    for value in enum.value:
        text = comments.get(f"{_PACKAGE}.{value.name}", "")
        yield f"| `{value.name}` | {value.number} | {_cell(text)} |"
    yield ""


def _find_route(method: MethodDescriptorProto) -> str | None:
    rule = method.options.Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    return f"{verb.upper()} {getattr(rule, verb)}" if verb else None


def _describe_type(field: FieldDescriptorProto) -> str:
    repeated = "repeated " * (field.label == FieldDescriptorProto.LABEL_REPEATED)
    named = _short(field.type_name)
    kind = named or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return f"{repeated}{kind}"


def _short(type_name: str) -> str:
    return type_name.removeprefix(".").removeprefix(f"{_PACKAGE}.")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
