/** Tests that take long, of which CI runs one of a kind. */

/** As options of a test: `npm run test:long` runs it. */
export const onlyWhenLong = { skip: process.env.LONG === "1" ? false : "`npm run test:long` runs it" } as const;
