/*
 * assignment.sql
 *	  Which variant a user gets, computed from the key alone.
 */

CREATE FUNCTION recsys.assign_variant(
	salt text,
	user_key text,
	variants text[],
	shares float8[] = NULL,
	traffic float8 = 1)
RETURNS text
LANGUAGE c IMMUTABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'recsys_assign_variant';
COMMENT ON FUNCTION recsys.assign_variant IS
	'the variant of a user: the one with the least -ln(u) / share, u = (first 8 bytes of sha256(salt/variant/user_key) as a number) / 2^64; shares NULL: equal ones; NULL for users that do not take part, whose u of the empty variant name is not below traffic. The same everywhere and always';
