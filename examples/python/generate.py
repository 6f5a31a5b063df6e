"""Generates the client's modules from the protos, into build/ beside this file."""

import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PROTOS = ROOT / "proto"
# What ours import of others; googleapis-common-protos has the modules of it.
IMPORTED = ROOT / "third_party" / "googleapis"
GOOGLE = Path(grpc_tools.__file__).parent / "_proto"
BUILD = HERE / "build"


def main() -> int:
    BUILD.mkdir(exist_ok=True)
    api = sorted(str(path) for path in PROTOS.glob("holdpoint/v1/*.proto"))
    includes = [f"--proto_path={path}" for path in (PROTOS, IMPORTED, GOOGLE)]
    return protoc.main(["protoc", *includes, f"--python_out={BUILD}", f"--grpc_python_out={BUILD}", *api])


if __name__ == "__main__":
    sys.exit(main())
