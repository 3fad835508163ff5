"""The image of one record: found, read, made smaller."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract_parser import Contract
from gristmill.datasets.describe import shorten
from gristmill.datasets.types.image import image_fields
from gristmill.images.errors import BadImage, ImageMissing, ImagesNotInstalled, UnusableImage
from gristmill.records.read.service import RecordReads

if TYPE_CHECKING:
    from gristmill.images.reader import ImageReader


@dataclass(frozen=True, slots=True)
class RecordImage:
    """The file of an image. where: of which record and field it is, for messages."""

    data: bytes
    field: str
    where: str


class RecordImages:
    """Reads images of records. reader: None where Pillow is not installed. Every method raises ImagesNotInstalled."""

    def __init__(self, reads: RecordReads, reader: "ImageReader | None") -> None:
        self._reads = reads
        self._found = reader

    def find(self, dataset: str, key: str, field: str | None) -> RecordImage:
        """Return the image in a field of the record whose key stands in a URL as ``key``.

        field: its name; may be None where the dataset has one image field. Raises UnknownDataset, UnknownRecord,
        NoKey, Invalid for field and key, ImageMissing, UnusableImage, NoImageFolder, FileStorageUnavailable,
        FileStorageRefused.
        """
        reader = self._reader()
        name, value = self._reads.value(dataset, key, lambda contract: _field(contract, field))
        where = f"The image {name} of the record {shorten(key)}"
        if value is None:
            raise ImageMissing(f"{where} is null")
        try:
            return RecordImage(reader.read(value if isinstance(value, str) else bytes(value)), name, where)
        except BadImage as error:
            raise _problem(error, name, where) from error

    def tag(self, image: RecordImage, size: int | None) -> str:
        """Return the value of the ETag of the image in this size; None for the file as it is."""
        self._reader()
        from gristmill.images.read.thumbnail import RECIPE  # noqa: PLC0415 - Pillow is an extra

        digest = blake2b(image.data, digest_size=16).hexdigest()
        return digest if size is None else f"{digest}.{size}.{RECIPE}"

    def show(self, image: RecordImage, size: int | None) -> tuple[bytes, str]:
        """Return the image in this size and its format, as MEDIA_TYPES has it. Raises UnusableImage."""
        reader = self._reader()
        from gristmill.images.decode import size_of  # noqa: PLC0415
        from gristmill.images.read.thumbnail import make_thumbnail  # noqa: PLC0415

        try:
            if size is None:
                return image.data, size_of(image.data, reader.max_pixels)[2].lower()
            return make_thumbnail(image.data, reader.max_pixels, size)
        except BadImage as error:
            raise _problem(error, image.field, image.where) from error

    def _reader(self) -> "ImageReader":
        if self._found is None:
            raise ImagesNotInstalled("Images need Pillow, which is not installed: install the extra gristmill[images]")
        return self._found


def _field(contract: Contract, field: str | None) -> str:
    """Return the name of the image field that is meant. Raises Invalid."""
    names = [one.name for one in image_fields(contract.fields)]
    if field in names:
        return str(field)
    if not names:
        code, reason = "no_image_field", f"{contract.name} has no image field"
    elif field is not None:
        code, reason = "unknown_field", f"{shorten(field)} is no image field; the image fields are {', '.join(names)}"
    elif len(names) == 1:
        return names[0]
    else:
        code, reason = "missing", f"field is missing: {contract.name} has the image fields {', '.join(names)}"
    raise Invalid(reason, [Violation("/query/field", code, reason, field="field")])


def _problem(error: BadImage, field: str, where: str) -> ImageMissing | UnusableImage:
    if error.code == "image_missing":
        return ImageMissing(f"{where} {error.reason}")
    reason = f"{field} {error.reason}"
    return UnusableImage(f"{where} {error.reason}", [Violation(f"/{field}", error.code, reason, field=field)])
