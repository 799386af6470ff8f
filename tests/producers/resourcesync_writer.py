"""Resources and changes, one JSON object a line, to the documents that `resync` makes of them."""

import json
import sys
from pathlib import Path
from typing import Any

from resync import CapabilityList, ChangeList, Resource, ResourceList, SourceDescription
from resync.list_base import ListBase


def write(root: Path, site: str, content: dict[str, Any]) -> None:
    """The change list last: what it says, the others do not contradict."""
    capabilities = f"{site}/capabilitylist.xml"
    resources = ResourceList(
        resources=[Resource(**each) for each in content["resources"]], uri=f"{site}/resourcelist.xml"
    )
    resources.md_at = content["since"]
    changes = ChangeList(resources=[Resource(**each) for each in content["changes"]], uri=f"{site}/changelist.xml")
    changes.md_from = content["since"]
    for each in (resources, changes):
        each.up = capabilities
        _put(root, f"{each.capability_name}.xml", each)


def write_the_way_there(root: Path, site: str) -> None:
    """What never changes: from the well-known address to the lists."""
    capabilities = CapabilityList(uri=f"{site}/capabilitylist.xml")
    capabilities.up = f"{site}/.well-known/resourcesync"
    for name in ("resourcelist", "changelist"):
        capabilities.add_capability(name=name, uri=f"{site}/{name}.xml")
    description = SourceDescription()
    description.add_capability_list(capabilities.uri)
    _put(root, "capabilitylist.xml", capabilities)
    (root / ".well-known").mkdir(exist_ok=True)
    _put(root, ".well-known/resourcesync", description)


def _put(root: Path, name: str, document: ListBase) -> None:
    incoming = Path(f"{root}.incoming")  # beside what is served
    incoming.write_text(document.as_xml(), "utf-8")
    incoming.replace(root / name)


def main(root: Path, site: str) -> None:
    write_the_way_there(root, site)
    for line in sys.stdin:
        write(root, site, json.loads(line))
        print("written", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
