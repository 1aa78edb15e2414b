"""One HTML page about a model: `write_report(path, content_of(interp, learn=learn))`."""

from learnkit.interpretation.report.build import content_of
from learnkit.interpretation.report.content import ReportContent
from learnkit.interpretation.report.render import write_report

__all__ = ["ReportContent", "content_of", "write_report"]
