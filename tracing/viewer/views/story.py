"""Stories of objects: the traces that touched one, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tracing.analysis.mine import hidden_text, spans_of_mine
from tracing.analysis.story import spans_of_story
from tracing.presentation.links import Links
from tracing.presentation.rows import MAX_LEVEL, Tree, ticks
from tracing.search.parser import quoted
from tracing.spans.codec import dispatch_document
from tracing.spans.summary import summary_document
from tracing.store.stories import story
from tracing.viewer.views.base import Page
from tracing.viewer.views.traces import list_address

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from tracing.store.stories import Chapter, Story

MOST_ROWS: Final = 60
"""Lines of one trace."""


class StoryPage(Page):
    """Each trace that touched the object of ``?object=``, newest first."""

    template_name = "tracing/story.html"
    section = "traces"
    has_switch = True

    def get(self, request: HttpRequest) -> HttpResponse:
        """Return a page of the story, beside ``?before=`` or ``?after=``."""
        wanted = request.GET.get("object", "").replace("\0", "").strip()[:500]
        if not wanted:
            return self.json({"error": "No object"}, 400) if self.wants_json else self.page({})
        found = story(
            wanted, before=request.GET.get("before", ""), after=request.GET.get("after", "")
        )
        if self.wants_json:
            return self.json(_document(found))
        query = f"instance:{quoted(wanted)}"
        chapters = [_told(chapter, everything=self.everything) for chapter in found.chapters]
        return self.page(
            {
                "object": wanted,
                "model": wanted.partition(":")[0],
                "story": found,
                "chapters": chapters,
                "instance_query": query,
                "search": list_address(query),
            }
        )


def _told(chapter: Chapter, *, everything: bool) -> dict[str, Any]:
    """Return what the page shows of a trace: mine, or *everything*."""
    trace, summary = chapter.trace, chapter.summary
    links = Links(summary.address)
    told: dict[str, Any] = {"row": summary, "links": links, "about": chapter.about, "rows": []}
    if trace is None:
        return told
    whole = spans_of_story(trace, chapter.about)
    # Where nothing is mine, all of it is shown.
    mine = None if everything else spans_of_mine(trace) or None
    shown = spans_of_story(trace, chapter.about, mine)
    tree = Tree(
        trace,
        shown=shown,
        matches={dispatch.number for dispatch in chapter.about},
        max_rows=MOST_ROWS,
        max_level=MAX_LEVEL,
        links=links,
    )
    rows = tree.rows()
    return told | {
        "trace": trace,
        "rows": rows,
        "ticks": ticks(tree.whole_ns),
        "hidden": hidden_text(left, "span") if (left := len(whole) - len(shown)) else "",
        "more": tree.count() - len(rows),
    }


def _document(found: Story) -> dict[str, Any]:
    return {
        "object": found.instance,
        "older": found.older,
        "newer": found.newer,
        "complete": found.complete,
        "traces": [
            {
                **summary_document(chapter.summary),
                "dispatches": None
                if chapter.trace is None
                else [dispatch_document(chapter.trace, each) for each in chapter.about],
            }
            for chapter in found.chapters
        ],
    }
