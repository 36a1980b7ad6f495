"""The data part of the study file: where tasks come from, and which column of their rows is what."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from mossa.study.settings import Count, Seed, Settings


class Fields(Settings):
    """Which column is what: `messages`, or `prompt` and `target`; what is not named is not read."""

    prompt: str | None = Field(default=None, description="column of what is asked: text, or a list of messages")
    input: str | None = Field(default=None, description="column that follows the prompt on a new line, where filled")
    target: str | None = Field(default=None, description="column of the answer: text, or a list of messages")
    messages: str | None = Field(default=None, description="column of conversations; the last answer is the target")
    system: str | None = Field(default=None, description="column of a system message, where filled")
    history: str | None = Field(default=None, description="column of earlier turns: pairs of question and answer")
    template: str | None = Field(default=None, description="column that names the template that worded the prompt")
    task: str | None = Field(default=None, description="column that names the task: one file or set is many tasks")
    cluster: str | None = Field(default=None, description="column that names the task cluster")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        pair = self.prompt is not None, self.target is not None
        if self.messages is not None and (any(pair) or self.input or self.history):
            raise ValueError("messages hold the prompt and the target; leave out prompt, input, target and history")
        if pair[0] != pair[1]:
            raise ValueError("prompt and target go together; name both columns")
        if not any(pair) and (self.input or self.history):
            raise ValueError("input and history belong to a prompt; name the columns prompt and target too")
        return self


class Tasks(Settings):
    """The tasks, their clusters and the size of their splits."""

    source: str = Field(
        description="a file or folder of data, hub:owner/name, or the name of a collection (see `mossa tasks ls`)"
    )
    fields: Fields | None = Field(default=None, description="which column is what; default: the format is recognised")
    configuration: str | None = Field(default=None, description="for hub:owner/name: which configuration of the set")
    split: str | None = Field(default=None, description="for hub:owner/name: the split to read; default: train")
    revision: str | None = Field(
        default=None,
        description="commit, branch or tag on the hub; default: the one mossa knows, or the newest of hub:owner/name",
    )
    only: list[str] | None = Field(default=None, min_length=1, description="use only these tasks")
    clusters: dict[str, list[str]] | None = Field(
        default=None,
        description="task cluster -> task names; default: tasks.json in the folder, else one cluster of all tasks",
    )
    train: Count = Field(default=1000, description="at most this many training examples per task")
    validation: Count = Field(default=100, description="at most this many validation examples per task")
    test: Annotated[int, Field(ge=4, le=10**15)] = Field(
        default=500, description="at most this many test prompts per task"
    )
    demonstrations: int = Field(
        default=0,
        ge=0,
        le=10**15,
        description="for Super-NaturalInstructions: positive examples shown before each input",
    )
    seed: Seed = Field(default=0, description="seed of the splits")

    @field_validator("clusters")
    @classmethod
    def _one_cluster_each(cls, clusters: dict[str, list[str]] | None) -> dict[str, list[str]] | None:
        seen: dict[str, str] = {}
        for cluster, names in (clusters or {}).items():
            for name in names:
                if name in seen:
                    raise ValueError(f"task {name!r} is in cluster {seen[name]!r} and in {cluster!r}; leave one")
                seen[name] = cluster
        return clusters
