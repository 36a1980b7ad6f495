"""What to compare: the study file, its schema, its overrides and its starter."""

from mossa.study.loading import Problem, checked, load_study, read_study
from mossa.study.schema import Study

__all__ = ["Problem", "Study", "checked", "load_study", "read_study"]
