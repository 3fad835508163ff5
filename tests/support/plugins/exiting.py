"""A plugin that ends whoever imports it."""

import sys

sys.exit("not without a licence")
