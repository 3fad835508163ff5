"""Path parameters that the framework has no convertor for."""

from starlette.convertors import StringConvertor, register_url_convertor


class WholeConvertor(StringConvertor):
    """The rest of a path, whatever its characters: slashes, and line ends, where ``path`` ends or does not match."""

    regex = r"(?s:.*)"


register_url_convertor("whole", WholeConvertor())
# How a path names the key of a record, which may be any text.
KEY = "{key:whole}"
