"""A simulator of Earth Engine for tests: a loopback server that its real client talks to.

It evaluates the expressions that Orchard builds over the scenes of a STAC catalogue, runs exports
as operations, writes their files as Earth Engine lays them out, keeps its limits, injects faults.
"""

from __future__ import annotations

from .images import EvaluationError, Image
from .interpreter import Interpreter
from .scenes import Archive, catalog_archive
from .server import EarthEngineServer, RequestFault, offline_client
from .service import Limits, Operation, Service, ServiceError

__all__ = [
    "Archive",
    "EarthEngineServer",
    "EvaluationError",
    "Image",
    "Interpreter",
    "Limits",
    "Operation",
    "RequestFault",
    "Service",
    "ServiceError",
    "catalog_archive",
    "offline_client",
]
