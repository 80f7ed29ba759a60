-- How many people each group has, and the mean of their scores. Groups of fewer than minimumGroup in program.toml are left out.
SELECT "group", count(*) AS n, avg(score) AS mean
FROM survey
GROUP BY "group"
