"""What to compare: the study file, its schema, its overrides and its starter."""

from mossa.study.loading import Problem, ReadStudy, checked, load_study, read_settings, read_study
from mossa.study.schema import StudySettings

__all__ = ["Problem", "ReadStudy", "StudySettings", "checked", "load_study", "read_settings", "read_study"]
