"""Errors of records that have parents, or children.

GristmillError
└── Conflict
    ├── ParentMissing       no record has the key that a record names as its parent's
    ├── LimitExceeded       the children of a parent would break one of its limits
    ├── ChildrenLeft        a parent cannot be deleted, or renamed, while it has children
    └── HierarchyChanged    a dataset got children, or parents, after a job was submitted that needs their scopes
"""

from gristmill.core.errors import Conflict


class ParentMissing(Conflict):
    code = "parent_missing"
    title = "The parent is not there"


class LimitExceeded(Conflict):
    code = "limit_exceeded"
    title = "A limit of the parent is exceeded"


class ChildrenLeft(Conflict):
    code = "children_left"
    title = "The record has children"


class HierarchyChanged(Conflict):
    code = "hierarchy_changed"
    title = "The dataset got children or parents meanwhile"
