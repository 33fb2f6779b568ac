-- Wilson's interval, the two-proportion and the Welch test, against published values.
\pset null '(null)'
SET extra_float_digits = 0;
-- Newcombe 1998, Statistics in Medicine 17, table I, method 3
SELECT successes, trials, round(recsys.wilson_lower(successes, trials)::numeric, 4) AS lower,
	round(recsys.wilson_upper(successes, trials)::numeric, 4) AS upper, published
FROM (VALUES (81, 263, '0.2553 0.3662'), (15, 148, '0.0624 0.1605'), (0, 20, '0.0000 0.1611'), (1, 29, '0.0061 0.1718')) v (successes, trials, published);
SELECT recsys.wilson_lower(0, 7), recsys.wilson_upper(7, 7), recsys.wilson_lower(0, 0), recsys.wilson_upper(NULL, 3);
SELECT round(recsys.wilson_lower(50, 100, 0.99)::numeric, 6) AS "99 %", round(recsys.wilson_lower(50, 100)::numeric, 6) AS "95 %",
	round(recsys.wilson_lower(50, 100, 0.5)::numeric, 6) AS "50 %", round(recsys.wilson_lower(500000000000, 1000000000000)::numeric, 6) AS large;

-- Physicians' Health Study (Agresti, Categorical Data Analysis): heart attacks of
-- 189 of 11,034 with placebo, 104 of 11,037 with aspirin; X^2 = 25.01, p < 0.0001
SELECT recsys.two_proportion_p(189, 11034, 104, 11037)::numeric(12, 10) AS aspirin,
	recsys.two_proportion_p(104, 11037, 189, 11034)::numeric(12, 10) AS the_other_way_round;
-- z = (0.25 - 0.15) / sqrt(0.2 0.8 (1/100 + 1/100)) = 1.767767, p = 0.0771
SELECT round(recsys.two_proportion_p(25, 100, 15, 100)::numeric, 4) AS p;
SELECT recsys.two_proportion_p(5, 10, 50, 100) AS equal, recsys.two_proportion_p(0, 10, 0, 10) AS none,
	recsys.two_proportion_p(10, 10, 7, 7) AS all, recsys.two_proportion_p(0, 0, 3, 7) AS no_trials, recsys.two_proportion_p(NULL, 1, 1, 1) AS null;

-- Student's sleep data, as in the manual of R's t.test: t = -1.8608, df = 17.776, p-value = 0.07939
CREATE TABLE sleep AS SELECT side, extra
FROM (VALUES (1, '{0.7,-1.6,-0.2,-1.2,-0.1,3.4,3.7,0.8,0.0,2.0}'::numeric[]), (2, '{1.9,0.8,1.1,0.1,-0.1,4.4,5.5,1.6,4.6,3.4}')) v (side, extras), unnest(extras) extra;
SELECT round(recsys.welch_p(
	avg(extra) FILTER (WHERE side = 1), var_samp(extra) FILTER (WHERE side = 1), count(*) FILTER (WHERE side = 1),
	avg(extra) FILTER (WHERE side = 2), var_samp(extra) FILTER (WHERE side = 2), count(*) FILTER (WHERE side = 2))::numeric, 5) AS p
FROM sleep;
-- tables of Student's distribution: with equal samples of n, t and 2 (n - 1) degrees
SELECT round(recsys.welch_p(2.228 * sqrt(2 / 6.0), 1, 6, 0, 1, 6)::numeric, 4) AS "t(10) = 2.228",
	round(recsys.welch_p(4.303 * sqrt(2 / 2.0), 1, 2, 0, 1, 2)::numeric, 4) AS "t(2) = 4.303",
	round(recsys.welch_p(1.960 * sqrt(2e-9), 1, 1000000000, 0, 1, 1000000000)::numeric, 4) AS "t(2e9) = 1.960";
SELECT recsys.welch_p(1, 2, 10, 1, 3, 20) AS equal, recsys.welch_p(1, 0, 10, 2, 0, 10) AS no_variance,
	recsys.welch_p(1, 1, 1, 2, 1, 10) AS one_value, recsys.welch_p(1e300, 1, 10, -1e300, 1, 10) AS far, recsys.welch_p(NULL, 1, 5, 1, 1, 5) AS null;

-- what can't be
SELECT recsys.wilson_lower(5, 4);
SELECT recsys.wilson_upper(-1, 4);
SELECT recsys.wilson_upper(0, -4);
SELECT recsys.wilson_lower(1, 4, 95);
SELECT recsys.wilson_lower(1, 4, 'NaN');
SELECT recsys.two_proportion_p(1, 10, 11, 10);
SELECT recsys.welch_p(1, -1, 10, 2, 1, 10);
SELECT recsys.welch_p(1, 1, 10, 2, 'NaN', 10);
SELECT recsys.welch_p('Infinity', 1, 10, 2, 1, 10);
SELECT recsys.welch_p(1, 1, 10, 2, 1, -10);
DROP TABLE sleep;
