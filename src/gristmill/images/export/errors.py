"""Errors of image exports.

GristmillError
└── Conflict
    ├── NoImageField        the dataset has no image, or several and none was named
    ├── OtherExport         what failed in an export cannot be exported from this dataset
    ├── ContractMoved       a field of the export was dropped, or got another type, since it was asked for
    └── ExportRemoved       the chunks of a failed export that were done are not kept any more
"""

from gristmill.core.errors import Conflict


class NoImageField(Conflict):
    code = "no_image_field"
    title = "Which images are meant is not clear"


class OtherExport(Conflict):
    code = "other_export"
    title = "The export is of something else"


class ContractMoved(Conflict):
    code = "contract_moved"
    title = "The contract has changed"


class ExportRemoved(Conflict):
    code = "export_removed"
    title = "The export was removed"
