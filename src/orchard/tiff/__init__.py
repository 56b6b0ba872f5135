"""TIFF files without GDAL: directories, ranges of their bytes, and blocks decoded in threads."""

from .codecs import BlockFormat, decode, encode
from .directory import BlockIndex, Directory, Unsupported, block_index, directories

__all__ = [
    "BlockFormat",
    "BlockIndex",
    "Directory",
    "Unsupported",
    "block_index",
    "decode",
    "directories",
    "encode",
]
