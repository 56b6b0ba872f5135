"""What goes over the wire, as the contract and the OpenAPI document have it."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ..workflow import Composite, Index, Workflow  # noqa: TID252 - the platform's own words

__all__ = [
    "BlockName",
    "Credits",
    "DownloadLink",
    "Envelope",
    "Failure",
    "JobInfo",
    "JobRequest",
    "ProjectInfo",
    "Submitted",
    "TaskInfo",
    "Token",
]

T = TypeVar("T")
_LARGEST = 10**6


class Envelope(BaseModel, Generic[T]):
    """What an answer's data come in."""

    data: T
    error: dict[str, Any] | None = Field(default_factory=dict)


class Problem(BaseModel):
    """What is wrong."""

    code: int
    message: str


class Failure(BaseModel):
    """The answer where something is wrong."""

    error: Problem
    data: None = None


class TokenData(BaseModel):
    """The token, under its other name."""

    accessToken: str  # noqa: N815 - the contract's name


class Token(BaseModel):
    """A token, given twice."""

    data: TokenData
    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the word of OAuth2
    expires_in: int = Field(description="seconds")


class ProjectInfo(BaseModel):
    """A project."""

    id: str
    workspaceId: str  # noqa: N815
    name: str
    description: str
    createdAt: str | None  # noqa: N815


class JobInfo(BaseModel):
    """A job: one task of an order, and what is made of it."""

    id: str
    name: str
    mode: str
    description: str
    status: str
    startedAt: str | None  # noqa: N815
    finishedAt: str | None  # noqa: N815
    workflowName: str  # noqa: N815
    workflowId: str  # noqa: N815
    order: str
    error: str | None
    inputs: dict[str, Any]


class BlockName(BaseModel):
    """Which block."""

    name: str


class TaskInfo(BaseModel):
    """A jobtask: one block of a job."""

    id: str
    name: str
    status: str
    startedAt: str | None  # noqa: N815
    finishedAt: str | None  # noqa: N815
    block: BlockName
    blockVersion: str  # noqa: N815
    error: str | None


class DownloadLink(BaseModel):
    """A signed link that needs no token and expires."""

    url: str


class Credits(BaseModel):
    """What a job has used up: nothing, on a platform of one's own."""

    creditsUsed: int  # noqa: N815


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _pair_or_pairs(value: Any) -> Any:
    pair = isinstance(value, list) and len(value) == 2
    return [value] if pair and all(isinstance(one, int) for one in value) else value


TileNumber = Annotated[int, Field(ge=-_LARGEST, le=_LARGEST)]


class JobRequest(BaseModel):
    """An order: collections x tiles x periods, as `orchard.Tracker.submit` takes it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "collections": ["LANDSAT/LC08/C02/T1_L2"],
                    "tile_indices": [[10, 3]],
                    "period_start": "2023-01-01",
                    "period_end": "2024-01-01",
                    "period_freq": "QS",
                    "composite": {"method": "median"},
                    "index": {"name": "NDVI"},
                }
            ]
        },
    )

    collections: Annotated[list[str], BeforeValidator(_one_or_many)] = Field(
        min_length=1, max_length=100, description="ids of collections"
    )
    tile_indices: Annotated[
        list[tuple[TileNumber, TileNumber]], BeforeValidator(_pair_or_pairs)
    ] = Field(min_length=1, max_length=10_000, description="(row, col) of each tile")
    period_start: str = Field(max_length=40, description="date or time, UTC where it does not say")
    period_end: str = Field(max_length=40, description="excluded")
    period_freq: str | None = Field(
        default=None, max_length=20, description="pandas offset that splits the period: MS, QS, …"
    )
    save_empty_metadata: bool = True
    error_if_empty: bool = False
    composite: Composite | None = None
    index: Index | None = None

    @property
    def workflow(self) -> Workflow:
        """What is to be made of each task."""
        return Workflow(composite=self.composite, index=self.index)

    @property
    def arguments(self) -> dict[str, Any]:
        """What `orchard.Tracker.submit` takes."""
        return self.model_dump(exclude={"composite", "index"})


class Submitted(BaseModel):
    """An order that was taken."""

    order: str = Field(description="its tracking name, which the command line knows as well")
    count: int = Field(description="how many jobs it has")
    jobs: list[JobInfo] = Field(description="the first hundred of them")
