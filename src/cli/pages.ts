/** Every item of a paged list; `page` asks for the page a token names, "" for the first. */
export async function allPages<T>(
  page: (pageToken: string) => Promise<{ items: T[]; nextPageToken: string }>,
): Promise<T[]> {
  const items: T[] = [];
  let token = "";
  do {
    const next = await page(token);
    items.push(...next.items);
    token = next.nextPageToken;
  } while (token !== "");
  return items;
}
