"""Errors of the search domain.

GristmillError
└── Invalid ── NotSearchable              the dataset has no embedding, or none that reads text
"""

from gristmill.core.errors import Invalid


class NotSearchable(Invalid):
    code = "not_searchable"
    title = "The dataset cannot be searched like this"
