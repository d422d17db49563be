"""The machine that reads pickles from people we do not know: containers, numbers, text, arrays, and nothing else.

A pickle is a program for a stack machine that may name any function, call it, and set the state of what it returns.
`Unpickler` is that machine with nothing to call: a name stands for one of the `Name` objects below, which build
arrays from bytes and shape after checking both. No object of numpy, torch or Python is given state from the file.
The machine's memory and steps are bounded by a `Budget`.

Opcodes and their arguments: Python's documentation of `pickletools`.
"""

from __future__ import annotations

import math
import pickle
import re
import struct
from codecs import escape_decode
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fourd_humans.files.arrays import RefusedError, build_array, bytes_of, numeric_type, shape_of
from fourd_humans.files.budget import Budget
from fourd_humans.files.streams import Stream

MAX_MARKS = 100  # containers that are open at the same time
MAX_INTEGER = 255  # bytes
MAX_LINE = 1 << 26  # bytes: protocol 0 writes the bytes of an array in one
# Bytes of memory that things are taken for: a reference, a number, an empty list or tuple, a pair in a dictionary, a
# set or an object with fields, an array or text without its contents.
REFERENCE, NUMBER, LIST, PAIR, OBJECT, HEADER = 8, 32, 64, 100, 240, 120
KEPT_STRINGS, KEPT_LENGTH = 4096, 48

_KEYS = (str, int, bytes, bool, type(None))
_SHARED = (list, tuple, dict, set, np.ndarray)


class Node:
    """Stands in for an object of a class that is not imported. kind: the class's full name; state: what it held."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.state: dict[Any, Any] = {}


class Name:
    """What a name in a pickle stands for. call: what a call of it with these arguments gives, or None: no call."""

    __slots__ = ("call", "name")

    def __init__(self, name: str, call: Callable[..., Any] | None = None) -> None:
        self.name, self.call = name, call


class Dtype:
    """The type of an array while its description is read. The byte order follows the code, as numpy writes it."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype

    def set_state(self, state: Any) -> None:
        """(version, byte order, sub-array, names, fields, size, alignment, flags): plain types have but the order."""
        if not (
            isinstance(state, tuple)
            and len(state) >= 5
            and state[1] in ("<", ">", "=", "|")
            and all(value is None for value in state[2:5])
        ):
            raise ValueError("an array of structures")
        if state[1] in ("<", ">") and not self.dtype.hasobject:
            self.dtype = self.dtype.newbyteorder(state[1])


class NewArray:
    """An array whose shape and contents follow. keys: under which the memo holds it."""

    __slots__ = ("keys",)

    def __init__(self) -> None:
        self.keys: list[int] = []


class JoblibArray:
    """joblib's note of an array whose numbers lie behind it in the file."""


def checked_key(value: Any) -> Any:
    """`value`, if finding it in a dictionary is quick: nested tuples take time without end to hash."""
    if type(value) in _KEYS or isinstance(value, Node):
        if type(value) is int and not -(1 << 60) < value < 1 << 60:  # larger ones can be made to collide
            raise ValueError("a dictionary with a key that is a huge number")
        return value
    raise ValueError(f"a dictionary with a key that is a {type(value).__name__}")


def set_of(items: Any = ()) -> set[Any]:
    if not isinstance(items, list | tuple):
        raise ValueError("a set of no list")
    return {checked_key(item) for item in items}


# The bytes of an array as this package's result files have it: (shape, type, bytearray(...)).
_WRITTEN_ARRAY = re.compile(
    rb"numpy\nndarray\n(\((?:K.|M..|J....){0,8}t|(?:K.|M..|J....){1,3}[\x85-\x87])X\x03\x00\x00\x00(...)"
    rb"cbuiltins\nbytearray\n(?:C(.)|B(....))",
    re.DOTALL,
)


class Unpickler:
    """The stack machine. `load` runs one pickle; what is left of the stream can be loaded next.

    find: gives what a name, of a module and in it, stands for, or None. persistent: called with a persistent id, which
    PyTorch's files have for storages.
    """

    def __init__(
        self,
        stream: Stream,
        budget: Budget,
        find: Callable[[str, str], Name | None],
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self._stream, self._budget, self._find_name, self._persistent = stream, budget, find, persistent
        self._data, self._position, self._payload, self._before = b"", 0, 0, 0
        self._strings: dict[bytes, str] = {}
        self._array_forms: dict[bytes, tuple[np.dtype[Any], tuple[int, ...], int]] = {}
        self._inside = False  # an array of objects in a file of joblib's
        self._begin()

    def _begin(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._frozen: dict[int, tuple[Any, int]] = {}  # containers that were referred to: they may not change any more
        self._on_item: Callable[[Any, Any], None] | None = None
        self._unspent = 0

    def load(self, on_item: Callable[[Any, Any], None] | None = None) -> Any:
        """The object that the pickle makes.

        on_item: called with each key and value of the outermost dictionary, as soon as it is there, instead of keeping
        it: what is returned then is empty.
        Raises: RefusedError, TooLargeError, EOFError where it ends early, or ValueError for what is no pickle.
        """
        self._begin()
        self._on_item, self._unspent = on_item, self._budget.memory
        try:
            while True:
                if self._position >= len(self._data):
                    self._refill()
                code = self._data[self._position]
                self._position += 1
                if code == _STOP:
                    return self._result_of_all()
                _OPERATIONS[code](self)
        except KeyError as error:
            raise ValueError(f"an operation {error} that pickles of arrays do not have") from error
        except (IndexError, TypeError, struct.error, OverflowError, UnicodeError) as error:
            raise ValueError(f"its operations make no sense: {error}") from error

    def outermost(self) -> Any:
        """The first object that was begun, where `load` has failed."""
        stack = self._marks[0] if self._marks else self._stack
        return stack[0] if stack else None

    @property
    def place(self) -> int:
        """How many bytes of the stream have been used."""
        return self._before + self._position

    def read(self, count: int) -> bytes:
        """The next bytes of the stream. Raises: EOFError where there are fewer."""
        end = self._position + count
        self._payload += count
        if end <= len(self._data):
            data = self._data[self._position : end]
            self._position = end
            return data
        parts = [self._data[self._position :]]
        missing = count - len(parts[0])
        while missing > 0:  # the count may be nonsense: memory is taken for what is there
            self._position = len(self._data)
            self._payload -= missing
            self._refill()
            self._payload += missing
            part = self._data[:missing]
            self._budget.spend(len(part))
            parts.append(part)
            missing -= len(part)
            self._position = len(part)
        return b"".join(parts)

    def _refill(self) -> None:
        """Go on to the next piece of the stream, and charge what the opcodes of this one may have made."""
        opcodes, self._payload = max(len(self._data) - self._payload, 0), 0
        self._budget.spend(REFERENCE * opcodes)
        self._budget.step(opcodes)
        self._before += len(self._data)
        self._data, self._position = self._stream.read(), 0
        if not self._data:
            raise EOFError("the file ends early")

    def _line(self) -> bytes:
        end = self._data.find(b"\n", self._position)
        if end >= 0:
            line = self._data[self._position : end]
            self._position = end + 1
            self._payload += len(line)
            return line
        parts: list[bytes] = []
        length = 0
        while end < 0:
            parts.append(self._data[self._position :])
            length += len(parts[-1])
            self._budget.spend(len(parts[-1]))
            self._payload += len(parts[-1])
            if length > MAX_LINE:
                raise ValueError("a line without an end")
            self._position = len(self._data)
            self._refill()
            end = self._data.find(b"\n")
        parts.append(self._data[:end])
        self._position = end + 1
        return b"".join(parts)

    # Values

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _text(self, data: bytes) -> None:
        """Push a string. Short ones are mostly keys, the same in every frame, and kept."""
        text = self._strings.get(data)
        if text is None:
            text = str(data, "utf-8", "surrogatepass")  # as pickle writes names of files that are not UTF-8
            self._budget.memory -= HEADER + len(data)
            if len(data) <= KEPT_LENGTH and len(self._strings) < KEPT_STRINGS:
                self._strings[data] = text
        self._stack.append(text)

    def _unicode(self) -> None:
        """The most frequent opcode, with the steps of `_counted` and `_text` in one."""
        data, position = self._data, self._position
        start = position + 4
        end = start + int.from_bytes(data[position:start], "little")
        text = self._strings.get(data[start:end]) if end <= len(data) and end - start <= KEPT_LENGTH else None
        if text is None:
            self._text(self._counted(4))
            return
        self._payload += end - position
        self._position = end
        self._stack.append(text)

    def _python_2_text(self, data: bytes) -> None:
        self._budget.memory -= HEADER + len(data)
        self._stack.append(str(data, "latin1"))

    def _bytes(self, data: bytes) -> None:
        self._budget.memory -= HEADER + len(data)
        self._stack.append(data)

    def _number(self, code: str, size: int) -> None:
        self._budget.memory -= NUMBER
        self._stack.append(struct.unpack(code, self.read(size))[0])

    def _integer(self, data: bytes) -> None:
        if len(data) > MAX_INTEGER:
            raise ValueError("a whole number without end")
        self._stack.append(int.from_bytes(data, "little", signed=True))

    def _decimal(self) -> None:
        line = self._line()
        if line in (b"00", b"01"):
            self._stack.append(line == b"01")
        elif len(line) > MAX_INTEGER:
            raise ValueError("a whole number without end")
        else:
            self._stack.append(int(line.removesuffix(b"L")))

    def _float_line(self) -> None:
        line = self._line()
        if len(line) > MAX_INTEGER:
            raise ValueError("a number without end")
        self._stack.append(float(line))

    def _string_line(self) -> None:
        line = self._line()
        if len(line) < 2 or line[:1] != line[-1:] or line[:1] not in (b'"', b"'"):
            raise ValueError("a text without quotes")
        self._python_2_text(escape_decode(line[1:-1])[0])

    def _counted(self, size: int) -> bytes:
        return self.read(int.from_bytes(self.read(size), "little"))

    def _skip(self, count: int) -> None:
        self.read(count)

    # Containers

    def _begin_container(self, value: Any) -> None:
        self._budget.memory -= OBJECT if type(value) is set else LIST
        self._stack.append(value)

    def _mark(self) -> None:
        if len(self._marks) >= MAX_MARKS:
            raise ValueError("containers nested without end")
        self._marks.append(self._stack)
        self._stack = []

    def _to_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def _skip_to_mark(self) -> None:
        self._to_mark()

    def _tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise ValueError("a tuple of nothing")
        self._budget.memory -= LIST + REFERENCE * count
        self._stack[len(self._stack) - count :] = [tuple(self._stack[len(self._stack) - count :])]

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list or id(target) in self._frozen:
            raise ValueError(f"items for a {type(target).__name__}")
        self._budget.memory -= REFERENCE * len(items)
        target.extend(items)

    def _add(self) -> None:
        items = self._to_mark()
        target = self._stack[-1]
        if type(target) is not set or id(target) in self._frozen:
            raise ValueError(f"items for a {type(target).__name__}")
        self._budget.memory -= PAIR * len(items)
        target.update(checked_key(item) for item in items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if len(items) % 2:
            raise ValueError("a key without a value")
        if isinstance(target, Ignored):
            return
        if not isinstance(target, dict) or id(target) in self._frozen:
            raise ValueError(f"keys for a {type(target).__name__}")
        pairs = zip(items[::2], items[1::2], strict=True)
        if self._on_item is not None and not self._marks and len(self._stack) == 1:
            self._budget.item = 0
            if not self._memo:  # which would keep what the items hold
                self._budget.item, self._budget.memory = self._unspent - self._budget.memory, self._unspent
            for key, value in pairs:
                self._on_item(checked_key(key), value)
            self._unspent = self._budget.memory
            return
        self._budget.memory -= PAIR * len(items) // 2
        for key, value in pairs:
            target[checked_key(key)] = value

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items([key, value])

    def _dict(self) -> None:
        items = self._to_mark()
        self._begin_container({})
        self._set_items(items)

    def _list(self) -> None:
        self._begin_container(self._to_mark())

    def _tuple_to_mark(self) -> None:
        self._begin_container(tuple(self._to_mark()))

    def _pop(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._to_mark()

    # The memo

    def _remember(self, index: int) -> None:
        self._budget.memory -= PAIR
        value = self._stack[-1]
        self._memo[index] = value
        if type(value) is NewArray:
            value.keys.append(index)

    def _recall(self, index: int) -> None:
        """Push again what was made before. Containers cost as often as they are used, so that few bytes cannot stand
        for a structure without end, and do not change any more."""
        if index not in self._memo:
            raise ValueError("a reference to nothing")
        value = self._memo[index]
        if isinstance(value, _SHARED):
            self._budget.spend(self._expanded_size(value))
        self._stack.append(value)

    def _expanded_size(self, value: Any) -> int:
        """Bytes that the container would take if nothing in it were shared."""
        if id(value) in self._frozen:
            return self._frozen[id(value)][1]
        size, waiting = 0, [value]
        while waiting:
            container = waiting.pop()
            if container is not value and id(container) in self._frozen:
                size += self._frozen[id(container)][1]
                continue
            if isinstance(container, np.ndarray) and not container.dtype.hasobject:
                size += HEADER + container.nbytes
                continue
            size += LIST + NUMBER * len(container)
            items = container.values() if isinstance(container, dict) else container
            if not isinstance(container, set):
                waiting += [item for item in items if isinstance(item, _SHARED)]
        if not isinstance(value, np.ndarray):
            self._budget.memory -= OBJECT
            self._frozen[id(value)] = value, size
        return size

    # Names, calls and state

    def _find(self, module: str, name: str) -> None:
        known = self._find_name(module, name)
        if known is None:
            raise RefusedError(f"{module}.{name}")
        self._stack.append(known)

    def _global(self) -> None:
        match = _WRITTEN_ARRAY.match(self._data, self._position)
        if match is not None and self._written_array(match):
            return
        self._find(str(self._line(), "utf-8"), str(self._line(), "utf-8"))

    def _written_array(self, match: re.Match[bytes]) -> bool:
        """Push the array of the form that this package writes, all at once; not if it reaches beyond this piece."""
        length = match[3][0] if match[3] else int.from_bytes(match[4], "little")
        start = match.end()
        if self._data[start + length : start + length + 4] != b"\x85R\x87R":
            return False
        form = self._array_forms.get(match[1] + match[2])
        if form is None:
            if len(self._array_forms) > KEPT_STRINGS:
                return False
            dtype, shape = numeric_type(match[2].decode("latin1")), _lengths(match[1])
            form = dtype, shape, 0 if dtype.kind == "b" else math.prod(shape) * dtype.itemsize
            self._array_forms[match[1] + match[2]] = form
        data = self._data[start : start + length]
        if length and length == form[2]:  # what `build_array` does, for the types that need no check
            self._stack.append(np.frombuffer(bytearray(data), form[0]).reshape(form[1]))
        else:
            self._stack.append(build_array(data, form[0], form[1]))
        self._budget.memory -= length + HEADER
        self._payload += start + length + 4 - self._position
        self._position = start + length + 4
        return True

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name that is no text")
        self._find(module, name)

    def _call(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._stack.append(self._result(function, arguments))

    def _result(self, function: Any, arguments: Any) -> Any:
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise ValueError(f"a call of a {type(function).__name__}")
        if function.call is None:
            raise RefusedError(f"a call of {function.name}")
        self._budget.spend(OBJECT + sum(len(a) for a in arguments if isinstance(a, bytes | bytearray | str)))
        return function.call(*arguments)

    def _new_object(self) -> None:
        arguments, kind = self._stack.pop(), self._stack.pop()
        self._stack.append(self._result(kind, arguments))

    def _new_object_with_keywords(self) -> None:
        self._stack.pop()
        self._new_object()

    def _instance(self) -> None:
        """Protocol 0's class and arguments; of old classes they are empty."""
        module, name = str(self._line(), "utf-8"), str(self._line(), "utf-8")
        arguments = tuple(self._to_mark())
        self._find(module, name)
        self._stack.append(self._result(self._stack.pop(), arguments))

    def _object(self) -> None:
        kind, *arguments = self._to_mark()
        self._stack.append(self._result(kind, tuple(arguments)))

    def _build(self) -> None:
        """State for what was made before: only what this module made itself takes any."""
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, NewArray):
            array = self._built_array(state)
            for key in target.keys:
                self._memo[key] = array
            self._stack[-1] = array
        elif isinstance(target, JoblibArray):
            self._stack[-1] = self._joblib_array(state)
        elif isinstance(target, Dtype):
            target.set_state(state)
        elif isinstance(target, Node):
            if not isinstance(state, dict):
                raise ValueError(f"a {target.kind} without its fields")
            target.state = state
        elif not isinstance(target, OrderedDict | Ignored):  # attributes of those are of no use
            raise RefusedError(f"the state of a {target.name if isinstance(target, Name) else type(target).__name__}")

    def _built_array(self, state: Any) -> NDArray[Any]:
        """Of (version, shape, type, whether in Fortran's order, bytes or list of objects)."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("an array without contents")
        shape, dtype, fortran, data = state[-4:]
        if not isinstance(dtype, Dtype):
            raise ValueError("an array of no known type")
        shape = shape_of(shape)
        if dtype.dtype.hasobject:
            return _array_of_objects(data, shape, bool(fortran))
        content = bytes_of(data)
        self._budget.spend(2 * len(content))
        return build_array(content, dtype.dtype, shape, fortran is True or fortran == 1)

    def _joblib_array(self, state: Any) -> NDArray[Any]:
        if not isinstance(state, dict) or not isinstance(state.get("dtype"), Dtype):
            raise ValueError("an array of no known type")
        dtype, shape = state["dtype"].dtype, shape_of(state.get("shape"))
        if dtype.hasobject:
            return self._pickle_between()
        if state.get("numpy_array_alignment_bytes") is not None:
            self.read(self.read(1)[0])
        data = self.read(math.prod(shape) * dtype.itemsize)
        self._budget.spend(len(data))
        return build_array(data, dtype, shape, state.get("order") == "F")

    def _pickle_between(self) -> Any:
        """An array of objects, which joblib pickles on its own in the middle of the file."""
        outer = self._stack, self._marks, self._memo, self._frozen, self._on_item, self._unspent
        if self._inside:
            raise ValueError("arrays of objects nested in each other")
        self._inside = True
        try:
            return self.load()
        finally:
            self._inside = False
            self._stack, self._marks, self._memo, self._frozen, self._on_item, self._unspent = outer

    def _persistent_id(self, value: Any) -> None:
        if self._persistent is None:
            raise ValueError("a reference to something outside the file")
        self._stack.append(self._persistent(value))

    def _result_of_all(self) -> Any:
        if self._marks or len(self._stack) != 1:
            raise ValueError("it stops in the middle")
        return self._stack[0]


class Ignored:
    """Stands in for an object that nobody needs, such as a setting in a checkpoint: takes anything, keeps nothing."""

    def __init__(self, *_: Any) -> None:
        pass


def ignored(name: str) -> Name:
    """For a class whose objects nobody needs."""
    return Name(name, Ignored)


def _lengths(encoded: bytes) -> tuple[int, ...]:
    """The whole numbers of a tuple, from the opcodes that make it (see `_WRITTEN_ARRAY`)."""
    lengths, place = [], 1 if encoded.startswith(b"(") else 0
    sizes = {b"K": 1, b"M": 2, b"J": 4}
    while (size := sizes.get(encoded[place : place + 1])) is not None:
        lengths.append(int.from_bytes(encoded[place + 1 : place + 1 + size], "little", signed=size == 4))
        place += 1 + size
    ends = {b"t": len(lengths), b"\x85": 1, b"\x86": 2, b"\x87": 3}
    if ends.get(encoded[place:]) != len(lengths):
        raise ValueError("an array without a shape")
    return shape_of(tuple(lengths))


def _array_of_objects(items: Any, shape: tuple[int, ...], fortran: bool) -> NDArray[Any]:
    if not isinstance(items, list) or len(items) != math.prod(shape):
        raise ValueError("an array of objects without its objects")
    array = np.empty(len(items), object)
    for index, item in enumerate(items):
        array[index] = item
    return array.reshape(shape, order="F" if fortran else "C")


_STOP = pickle.STOP[0]
_OPERATIONS: dict[int, Callable[[Unpickler], None]] = {
    pickle.PROTO[0]: lambda u: u._skip(1),
    pickle.FRAME[0]: lambda u: u._skip(8),
    # values
    pickle.NONE[0]: lambda u: u._push(None),
    pickle.NEWTRUE[0]: lambda u: u._push(True),
    pickle.NEWFALSE[0]: lambda u: u._push(False),
    pickle.INT[0]: Unpickler._decimal,
    pickle.LONG[0]: Unpickler._decimal,
    pickle.FLOAT[0]: Unpickler._float_line,
    pickle.BININT[0]: lambda u: u._number("<i", 4),
    pickle.BININT1[0]: lambda u: u._push(u.read(1)[0]),
    pickle.BININT2[0]: lambda u: u._number("<H", 2),
    pickle.LONG1[0]: lambda u: u._integer(u._counted(1)),
    pickle.LONG4[0]: lambda u: u._integer(u._counted(4)),
    pickle.BINFLOAT[0]: lambda u: u._number(">d", 8),
    pickle.STRING[0]: Unpickler._string_line,
    pickle.BINSTRING[0]: lambda u: u._python_2_text(u._counted(4)),
    pickle.SHORT_BINSTRING[0]: lambda u: u._python_2_text(u._counted(1)),
    pickle.BINBYTES[0]: lambda u: u._bytes(u._counted(4)),
    pickle.SHORT_BINBYTES[0]: lambda u: u._bytes(u._counted(1)),
    pickle.BINBYTES8[0]: lambda u: u._bytes(u._counted(8)),
    pickle.BYTEARRAY8[0]: lambda u: u._bytes(u._counted(8)),
    pickle.UNICODE[0]: lambda u: u._text(str(u._line(), "raw-unicode-escape").encode("utf-8", "surrogatepass")),
    pickle.BINUNICODE[0]: Unpickler._unicode,
    pickle.SHORT_BINUNICODE[0]: lambda u: u._text(u._counted(1)),
    pickle.BINUNICODE8[0]: lambda u: u._text(u._counted(8)),
    # containers
    pickle.MARK[0]: Unpickler._mark,
    pickle.EMPTY_TUPLE[0]: lambda u: u._push(()),
    pickle.TUPLE1[0]: lambda u: u._tuple(1),
    pickle.TUPLE2[0]: lambda u: u._tuple(2),
    pickle.TUPLE3[0]: lambda u: u._tuple(3),
    pickle.TUPLE[0]: Unpickler._tuple_to_mark,
    pickle.EMPTY_LIST[0]: lambda u: u._begin_container([]),
    pickle.LIST[0]: Unpickler._list,
    pickle.APPEND[0]: lambda u: u._append([u._stack.pop()]),
    pickle.APPENDS[0]: lambda u: u._append(u._to_mark()),
    pickle.EMPTY_DICT[0]: lambda u: u._begin_container({}),
    pickle.DICT[0]: Unpickler._dict,
    pickle.SETITEM[0]: Unpickler._set_item,
    pickle.SETITEMS[0]: lambda u: u._set_items(u._to_mark()),
    pickle.EMPTY_SET[0]: lambda u: u._begin_container(set()),
    pickle.ADDITEMS[0]: Unpickler._add,
    pickle.FROZENSET[0]: lambda u: u._begin_container(set_of(u._to_mark())),
    pickle.POP[0]: Unpickler._pop,
    pickle.POP_MARK[0]: lambda u: u._skip_to_mark(),
    # the memo
    pickle.PUT[0]: lambda u: u._remember(int(u._line()[:20])),
    pickle.BINPUT[0]: lambda u: u._remember(u.read(1)[0]),
    pickle.LONG_BINPUT[0]: lambda u: u._remember(int.from_bytes(u.read(4), "little")),
    pickle.MEMOIZE[0]: lambda u: u._remember(len(u._memo)),
    pickle.GET[0]: lambda u: u._recall(int(u._line()[:20])),
    pickle.BINGET[0]: lambda u: u._recall(u.read(1)[0]),
    pickle.LONG_BINGET[0]: lambda u: u._recall(int.from_bytes(u.read(4), "little")),
    # names, calls and state
    pickle.GLOBAL[0]: Unpickler._global,
    pickle.STACK_GLOBAL[0]: Unpickler._stack_global,
    pickle.REDUCE[0]: Unpickler._call,
    pickle.NEWOBJ[0]: Unpickler._new_object,
    pickle.NEWOBJ_EX[0]: Unpickler._new_object_with_keywords,
    pickle.INST[0]: Unpickler._instance,
    pickle.OBJ[0]: Unpickler._object,
    pickle.BUILD[0]: Unpickler._build,
    pickle.PERSID[0]: lambda u: u._persistent_id(str(u._line(), "ascii")),
    pickle.BINPERSID[0]: lambda u: u._persistent_id(u._stack.pop()),
}
