"""Routines behind the interface that are the same in every library, in LLVM text: values copied, classes found, sums to check."""

from __future__ import annotations

COPIES = "llvm.memcpy.p0.p0.i64"
MEMCPY = "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)"

COPY = """
; a value, by its record, from the workspace to row-major bytes or back
define internal void @copy_value(ptr %context, ptr %record, ptr %outside, i1 %inward) #0 {
entry:
  %word = load i64, ptr %record
  %p1 = getelementptr i64, ptr %record, i64 1
  %p2 = getelementptr i64, ptr %record, i64 2
  %p3 = getelementptr i64, ptr %record, i64 3
  %p4 = getelementptr i64, ptr %record, i64 4
  %p5 = getelementptr i64, ptr %record, i64 5
  %p6 = getelementptr i64, ptr %record, i64 6
  %offset = load i64, ptr %p1
  %rows = load i64, ptr %p2
  %columns = load i64, ptr %p3
  %panel = load i64, ptr %p4
  %panel.stride = load i64, ptr %p5
  %row.stride = load i64, ptr %p6
  %space.at = getelementptr i8, ptr %context, i64 %word
  %space = load ptr, ptr %space.at
  %inside = getelementptr i8, ptr %space, i64 %offset
  br label %row
row:
  %r = phi i64 [ 0, %entry ], [ %r.next, %row.end ]
  %own = phi ptr [ %inside, %entry ], [ %own.next, %row.end ]
  %other = phi ptr [ %outside, %entry ], [ %other.next, %row.end ]
  br label %piece
piece:
  %done = phi i64 [ 0, %row ], [ %done.next, %piece ]
  %here = phi ptr [ %own, %row ], [ %here.next, %piece ]
  %left = sub i64 %columns, %done
  %short = icmp ult i64 %left, %panel
  %size = select i1 %short, i64 %left, i64 %panel
  %there = getelementptr i8, ptr %other, i64 %done
  %to = select i1 %inward, ptr %here, ptr %there
  %from = select i1 %inward, ptr %there, ptr %here
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %from, i64 %size, i1 false)
  %here.next = getelementptr i8, ptr %here, i64 %panel.stride
  %done.next = add i64 %done, %size
  %more = icmp ult i64 %done.next, %columns
  br i1 %more, label %piece, label %row.end
row.end:
  %r.next = add i64 %r, 1
  %own.next = getelementptr i8, ptr %own, i64 %row.stride
  %other.next = getelementptr i8, ptr %other, i64 %columns
  %again = icmp ult i64 %r.next, %rows
  br i1 %again, label %row, label %end
end:
  ret void
}
"""

FIND_CLASS = """
; the number of the class with this name, -1 when there is none
define internal i64 @class_number(ptr %names, i64 %count, ptr %text, i64 %bytes) #0 {
entry:
  br label %next
next:
  %n = phi i64 [ 0, %entry ], [ %n.next, %other ]
  %more = icmp ult i64 %n, %count
  br i1 %more, label %look, label %none
look:
  %name.at = getelementptr ptr, ptr %names, i64 %n
  %name = load ptr, ptr %name.at
  br label %byte
byte:
  %k = phi i64 [ 0, %look ], [ %k.next, %same ]
  %c.at = getelementptr i8, ptr %name, i64 %k
  %c = load i8, ptr %c.at
  %all = icmp uge i64 %k, %bytes
  br i1 %all, label %ends, label %compare
ends:
  %ended = icmp eq i8 %c, 0
  br i1 %ended, label %found, label %other
compare:
  %d.at = getelementptr i8, ptr %text, i64 %k
  %d = load i8, ptr %d.at
  %equal = icmp eq i8 %c, %d
  %inside = icmp ne i8 %c, 0
  %both = and i1 %equal, %inside
  br i1 %both, label %same, label %other
same:
  %k.next = add i64 %k, 1
  br label %byte
other:
  %n.next = add i64 %n, 1
  br label %next
found:
  ret i64 %n
none:
  ret i64 -1
}
"""

CHECKSUM = """
; a sum over so many 64-bit words, in which the order counts (FNV-1a, Fowler, Noll and Vo, by words)
define internal i64 @checksum(ptr %content, i64 %words) #0 {
entry:
  br label %word
word:
  %n = phi i64 [ 0, %entry ], [ %n.next, %word ]
  %sum = phi i64 [ -3750763034362895579, %entry ], [ %sum.next, %word ]
  %at = getelementptr i64, ptr %content, i64 %n
  %value = load i64, ptr %at, align 1
  %mixed = xor i64 %sum, %value
  %sum.next = mul i64 %mixed, 1099511628211
  %n.next = add i64 %n, 1
  %more = icmp ult i64 %n.next, %words
  br i1 %more, label %word, label %end
end:
  ret i64 %sum.next
}
"""

ALL = (COPY, FIND_CLASS, CHECKSUM)
