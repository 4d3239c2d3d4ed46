-- A stand-in for the type of RuVector: float32, text literals, the cosine operator, no binary form.
-- Its code is that of pgvector. The tests check the SQL that a store sends.
CREATE TYPE ruvector;
CREATE FUNCTION ruvector_in(cstring, oid, integer) RETURNS ruvector
  AS '$libdir/vector', 'vector_in' LANGUAGE C IMMUTABLE STRICT;
CREATE FUNCTION ruvector_out(ruvector) RETURNS cstring
  AS '$libdir/vector', 'vector_out' LANGUAGE C IMMUTABLE STRICT;
CREATE FUNCTION ruvector_typmod_in(cstring[]) RETURNS integer
  AS '$libdir/vector', 'vector_typmod_in' LANGUAGE C IMMUTABLE STRICT;
CREATE TYPE ruvector (
  INPUT = ruvector_in, OUTPUT = ruvector_out, TYPMOD_IN = ruvector_typmod_in, STORAGE = external
);
CREATE FUNCTION ruvector_cosine_distance(ruvector, ruvector) RETURNS float8
  AS '$libdir/vector', 'cosine_distance' LANGUAGE C IMMUTABLE STRICT;
CREATE OPERATOR <=> (
  LEFTARG = ruvector, RIGHTARG = ruvector, PROCEDURE = ruvector_cosine_distance, COMMUTATOR = <=>
);
