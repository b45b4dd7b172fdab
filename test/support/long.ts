/** Tests that take long, of which CI runs one of a kind. */

/** Whether `npm run test:long` runs. */
export const isLong = process.env.LONG === "1";

/** As options of a test: `npm run test:long` runs it. */
export const onlyWhenLong = { skip: isLong ? false : "`npm run test:long` runs it" } as const;
