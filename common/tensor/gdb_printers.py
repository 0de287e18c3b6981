"""Pretty-printers of gdb for attn::TensorView and attn::Tensor (xt::xtensor).

In gdb: source common/tensor/gdb_printers.py. Then `print scores` shows
    TensorView<float, 2>[4, 100] = {{1, 2, 3, 4, 5, 6, 7, 8, ...}, {...}, ...}
the first of the last two dimensions' elements: up to 4 rows of 8 columns.
"""

import re
import struct

import gdb

ROWS, COLUMNS = 4, 8
MORE = "..."  # not "…": gdb encodes what it prints as the locale says, and "C" is ASCII


def sixteen_bit_value(value):
    """The number in an attn::float16, attn::bfloat16, __half or __nv_bfloat16, or None if the type is another."""
    name = str(value.type.strip_typedefs().unqualified())
    if not re.search(r"(\bfloat16|\bbfloat16|Bfloat16Format|Float16Format|__half|__nv_bfloat16)", name):
        return None
    if value.type.sizeof != 2:
        return None
    bits = int(value.address.cast(gdb.lookup_type("unsigned short").pointer()).dereference())
    if "bfloat16" in name.lower():
        return struct.unpack("<f", struct.pack("<I", bits << 16))[0]
    return struct.unpack("<e", struct.pack("<H", bits))[0]


def element_text(value):
    number = sixteen_bit_value(value)
    if number is not None:
        return "%g" % number
    if value.type.strip_typedefs().code == gdb.TYPE_CODE_FLT:
        return "%g" % float(value)
    return str(value)


def matrix_text(data, shape):
    """The elements of the first matrix: the last two dimensions, all other indices 0."""
    if int(data) == 0:
        return "no data"
    if 0 in shape:
        return "{}"

    def row_text(first, columns):
        texts = [element_text((data + first + column).dereference()) for column in range(min(columns, COLUMNS))]
        return "{" + ", ".join(texts + [MORE] * (columns > COLUMNS)) + "}"

    if not shape:
        return element_text(data.dereference())
    columns = shape[-1]
    try:
        if len(shape) == 1:
            return row_text(0, columns)
        rows = shape[-2]
        texts = [row_text(row * columns, columns) for row in range(min(rows, ROWS))]
        return "{" + ", ".join(texts + [MORE] * (rows > ROWS)) + "}"
    except gdb.MemoryError:
        return "device memory at %#x, readable while a kernel runs" % int(data)


def tensor_text(name, element_type, data, shape):
    element_type = re.sub(r"^(.*) const$", r"const \1", str(element_type))
    leading = "".join("[0]" for _ in shape[:-2])  # which matrix is shown
    return "%s<%s, %d>[%s]%s = %s" % (name, element_type, len(shape), ", ".join(map(str, shape)),
                                      " " + leading if leading else "", matrix_text(data, shape))


class TensorViewPrinter:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        value_type = self.value.type.strip_typedefs().unqualified()
        dimensions = int(value_type.template_argument(1))
        extents = self.value["shape_"]["extent"]
        shape = [int(extents[dimension]) for dimension in range(dimensions)]
        return tensor_text("TensorView", value_type.template_argument(0), self.value["data_"], shape)


class TensorPrinter:
    """xt::xtensor_container: its shape is a std::array, its storage an xt::uvector or xt::svector."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        extents = self.value["m_shape"]
        array = extents["_M_elems"] if has_field(extents, "_M_elems") else extents["__elems_"]
        first, last = array.type.strip_typedefs().range()
        shape = [int(array[dimension]) for dimension in range(first, last + 1)]
        storage = self.value["m_storage"]
        for name in ("p_begin", "m_begin", "m_data"):
            if has_field(storage, name):
                data = storage[name]
                return tensor_text("Tensor", data.type.strip_typedefs().target(), data, shape)
        return "Tensor of an unknown storage"


def has_field(value, name):
    return any(field.name == name for field in value.type.strip_typedefs().fields())


def find_printer(value):
    name = value.type.strip_typedefs().unqualified().tag or ""
    if name.startswith("attn::TensorView<"):
        return TensorViewPrinter(value)
    if name.startswith("xt::xtensor_container<"):
        return TensorPrinter(value)
    return None


find_printer.__name__ = "attn_tensors"  # what `info pretty-printer` lists
gdb.pretty_printers.insert(0, find_printer)
